-- A replica says that it is there (or leaves), and learns the epoch, its slot and who else there is.
-- Times are microseconds of this server's clock. The manual's chapter on shared ceilings has the reasons.
--
-- KEYS[1]  the replicas: a hash with the fields s (what lending needs to know) and m (every member)
-- ARGV     1 run of the server  2 id for a new epoch  3 now, as the replica expects it  4 how much later it may be
--          5 quiet time  6 name  7 incarnation  8 max_replicas  9 missing_after  10 absent_for
--          11 epoch that the replica knows, or ""  12 by how much it saw the clock step  13 its slot, or -1
--          14 whether this incarnation was a member before  15 whether it spent its part  16 whether it leaves
--          17 version of the members that it knows  18 by how much it has the clock stepped, all in all, or ""
--          then what it knows of other members: name, incarnation, slot
local SAME = 50000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local run, nonce = ARGV[1], ARGV[2]
local quiet, missing_after, absent_for = tonumber(ARGV[5]), tonumber(ARGV[9]), tonumber(ARGV[10])
local name, incarnation, most = ARGV[6], ARGV[7], tonumber(ARGV[8])
local step, slot, shift = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[18])
if now > tonumber(ARGV[3]) + tonumber(ARGV[4]) then return {1, now} end

local kept = redis.call('HMGET', KEYS[1], 's', 'm')
local s = kept[1] and cmsgpack.unpack(kept[1])
local members = kept[2] and cmsgpack.unpack(kept[2]) or {}
local latest = 0
for _, member in pairs(members) do latest = math.max(latest, member.seen) end
if not s or s.run ~= run then
  -- Who was there before knows better than what is kept: that may be old, or from a server with another clock.
  s = {epoch = nonce, run = run, quiet = now + quiet, shift = shift or s and s.shift or 0,
       unsure = not shift, version = now}
  for _, member in pairs(members) do
    -- Whatever the clock of the server before: they are looked for anew.
    member.seen = now
    if member.back > 0 then member.back = now end
  end
elseif step ~= 0 and s.epoch == ARGV[11] then
  s.epoch, s.quiet, s.shift = nonce, now + quiet, s.shift + step
  for _, member in pairs(members) do
    member.seen = member.seen + step
    if member.back > 0 then member.back = member.back + step end
  end
elseif latest > 0 and now >= latest + missing_after + quiet then
  -- Nobody reached this server, so somebody may spend a part who never did.
  s.epoch, s.quiet = nonce, now + quiet
end
if s.unsure and shift and s.epoch ~= ARGV[11] then
  if math.abs(shift - s.shift) > SAME then s.epoch, s.quiet, s.shift = nonce, now + quiet, shift end
  s.unsure = false
end
for i = 19, #ARGV, 3 do
  if not members[ARGV[i]] then
    members[ARGV[i]] = {inc = ARGV[i + 1], seen = now, slot = tonumber(ARGV[i + 2]), back = 0}
    s.version = s.version + 1
  end
end

local mine = members[name]
if ARGV[16] == '1' then
  if mine and mine.inc == incarnation then
    members[name] = nil
    s.version = s.version + 1
  end
else
  if mine and mine.inc ~= incarnation and ARGV[14] == '1' then return {2, now} end
  local was_missing = mine and now >= mine.seen + missing_after
  if not mine then
    local taken = {}
    for _, member in pairs(members) do taken[member.slot] = true end
    if slot < 0 or slot >= most or taken[slot] then
      slot = 0
      while taken[slot] do slot = slot + 1 end
      if slot >= most then slot = -1 end
    end
    mine = {slot = slot, back = 0}
    members[name] = mine
    s.version = s.version + 1
  elseif mine.inc ~= incarnation then
    -- The same host again. Whether its last incarnation spent its part, nobody knows.
    if was_missing then mine.back = now end
    s.version = s.version + 1
  end
  if ARGV[15] == '1' then mine.back = now end
  mine.inc, mine.seen = incarnation, now
end

s.calm, s.reserved = now + 3600000000, {}
for other, member in pairs(members) do
  local missing_at, gone_at = member.seen + missing_after, member.seen + absent_for + quiet
  if now >= gone_at then
    members[other] = nil
    s.version = s.version + 1
  else
    local is_missing = now >= missing_at
    s.calm = math.min(s.calm, is_missing and gone_at or missing_at)
    if member.slot >= 0 and (is_missing or member.back > 0) then
      s.reserved[#s.reserved + 1] = {member.slot, is_missing and 0 or member.back, other}
    end
    if not is_missing and member.back > 0 and now >= member.back + absent_for + quiet then member.back = 0 end
  end
end
redis.call('HSET', KEYS[1], 's', cmsgpack.pack(s), 'm', cmsgpack.pack(members))

local told = {0, now, s.epoch, math.max(0, s.quiet - now), members[name] and members[name].slot or -1, s.shift,
              s.version}
if tonumber(ARGV[17]) ~= s.version then
  for other, member in pairs(members) do
    local n = #told
    told[n + 1], told[n + 2], told[n + 3] = other, member.inc, member.slot
    told[n + 4] = now < member.seen + missing_after and 1 or 0
  end
end
return told
