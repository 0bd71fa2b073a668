-- Takes what a replica reports of an app's tokens, and lends it some: of every ceiling and all of its periods in one
-- step. Times are microseconds of this server's clock. The manual's chapter on shared ceilings has the reasons.
--
-- KEYS[1]  the replicas, as in meet.lua, and a field k:… for each app that tokens were lent of in some epoch
-- KEYS[2]  the app: a hash with the field a and one b:… for each ceiling
-- ARGV     1 run of the server  2 epoch  3 now, as the replica expects it  4 how much later it may be
--          5 quiet time  6 name  7 max_replicas  8 missing_after  9 absent_for  10 lease  11 transit_max
--          12 id for an app that is not there  13 number of ceilings, then of each: id, tokens wanted, weight, whether all that was sent without the store
--          is in the reports, number of periods, of each period limit and length, number of reports, of each report
--          kind, base, count, age
local GUARD, FINE = 5000, 128
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local quiet, name, most = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local missing_after, absent_for = tonumber(ARGV[8]), tonumber(ARGV[9])
local lease, transit = tonumber(ARGV[10]), tonumber(ARGV[11])
if now > tonumber(ARGV[3]) + tonumber(ARGV[4]) then return {1, now} end
local kept = redis.call('HGET', KEYS[1], 's')
local s = kept and cmsgpack.unpack(kept)
if not s or s.run ~= ARGV[1] or s.epoch ~= ARGV[2] then return {3, now} end

-- Tokens come home in slices of a period, always at the end of one.
local function slice(period) return math.max(1000, math.floor(period / FINE)) end
local function home(released, period) return math.ceil((released + period + GUARD) / slice(period)) end

-- Whose parts are kept for them: found again only when somebody may have gone missing since.
if now >= s.calm then
  local members = cmsgpack.unpack(redis.call('HGET', KEYS[1], 'm'))
  s.calm, s.reserved = now + 3600000000, {}
  for other, member in pairs(members) do
    local missing_at, gone_at = member.seen + missing_after, member.seen + absent_for + quiet
    if now < gone_at then
      local is_missing = now >= missing_at
      s.calm = math.min(s.calm, is_missing and gone_at or missing_at)
      if member.slot >= 0 and (is_missing or member.back > 0) then
        s.reserved[#s.reserved + 1] = {member.slot, is_missing and 0 or member.back, other}
      end
    end
  end
  redis.call('HSET', KEYS[1], 's', cmsgpack.pack(s))
end

-- What this app went through: never seen, or gone since, or seen in another epoch.
local kept_app = redis.call('HGET', KEYS[2], 'a')
local app = kept_app and cmsgpack.unpack(kept_app)
if not app then
  local was_lent = redis.call('HGET', KEYS[1], 'k:' .. KEYS[2]) == s.epoch
  app = {born = ARGV[12], epoch = s.epoch, shift = s.shift, quiet = was_lent and now + quiet or s.quiet}
  redis.call('HSET', KEYS[1], 'k:' .. KEYS[2], s.epoch)
end
if app.epoch ~= s.epoch then
  local moved = math.max(0, s.shift - app.shift)
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if all[i] ~= 'a' then
      local bucket = cmsgpack.unpack(all[i + 1])
      for _, kept_period in ipairs(bucket.p) do
        local period, coming, before = kept_period[1], {}, kept_period[2]
        -- What was lent before the epoch began is home by then, whatever the clock was.
        local latest = home(s.quiet - quiet + lease + transit, period)
        for index, count in pairs(before) do
          local at = math.min(latest, index + math.ceil(moved / slice(period)))
          coming[at] = (coming[at] or 0) + count
        end
        kept_period[2] = coming
      end
      bucket.w, bucket.r = {}, {}
      redis.call('HSET', KEYS[2], all[i], cmsgpack.pack(bucket))
    end
  end
  app.epoch, app.shift, app.quiet = s.epoch, s.shift, s.quiet
  redis.call('HSET', KEYS[1], 'k:' .. KEYS[2], s.epoch)
  kept_app = nil
end
if not kept_app then redis.call('HSET', KEYS[2], 'a', cmsgpack.pack(app)) end
local quiet_left = math.max(0, s.quiet - now, app.quiet - now)
local told = {0, now, app.born, quiet_left}

-- How many tokens of one period may be away now, beside the parts that are kept; and if none, for how long.
local function limit_of(limit, period, longest, registered)
  local by_slots, groups, length = limit < most, math.ceil(most / limit), period + transit + 600000
  local slot_clock = now - s.shift
  local group, kept_parts, reserved = math.floor(slot_clock / length) % groups, 0, 0
  for _, part in ipairs(s.reserved) do
    -- Of one who is back, until what it sent is home, or known one by one.
    local back = part[2]
    local is_home = back > 0 and ((registered[part[3]] or 0) >= back or now >= back + lease + transit + longest + GUARD)
    if not is_home then
      kept_parts = kept_parts + 1
      if not by_slots then
        reserved = reserved + math.floor(limit / most)
      elseif part[1] % groups == group then
        reserved = reserved + 1
      end
    end
  end
  if kept_parts == 0 or not by_slots then return limit - reserved, 0 end
  -- Those who are cut off go by slots, so everybody does.
  local phase = slot_clock % length
  return phase < 100000 and limit - reserved or 0, length - phase
end

local at = 14
local function take()
  at = at + 1
  return ARGV[at - 1]
end
for _ = 1, tonumber(ARGV[13]) do
  local id, want, weight, registers, periods = take(), tonumber(take()), tonumber(take()), take() == '1', {}
  local kept_bucket = redis.call('HGET', KEYS[2], 'b:' .. id)
  local bucket = kept_bucket and cmsgpack.unpack(kept_bucket) or {p = {}, w = {}, r = {}}
  local longest = 0
  if registers then bucket.r[name] = now end
  for i = 1, tonumber(take()) do
    local limit, period, coming = tonumber(take()), tonumber(take()), nil
    for _, kept_period in ipairs(bucket.p) do
      if kept_period[1] == period then coming = kept_period[2] end
    end
    if not coming then
      coming = {}
      bucket.p[#bucket.p + 1] = {period, coming}
    end
    periods[i] = {limit, period, coming}
    longest = math.max(longest, period)
  end
  for _ = 1, tonumber(take()) do
    local kind, base, count, age = take(), tonumber(take()), tonumber(take()), tonumber(take())
    local released = now - age
    if kind == 'a' then released = math.min(released, base) end
    for _, p in ipairs(periods) do
      local period, coming, moved = p[2], p[3], count
      if kind ~= 'r' then
        local from = home(base, period)
        moved = math.min(count, coming[from] or 0)
        coming[from] = moved < (coming[from] or 0) and coming[from] - moved or nil
      end
      if kind == 'u' and p == periods[1] and bucket.c then bucket.c = bucket.c + moved * 1000 end
      if kind ~= 'u' and moved > 0 then
        local to = home(released, period)
        coming[to] = (coming[to] or 0) + moved
      end
    end
  end

  for other, waiter in pairs(bucket.w) do
    if waiter[4] <= now or (other == name and want == 0) then bucket.w[other] = nil end
  end
  local free, wait, pace, credit, rate = nil, 0, 0, 0, 0
  for _, p in ipairs(periods) do
    local away, next_home = 0, nil
    for index, count in pairs(p[3]) do
      local home_at = index * slice(p[2])
      if home_at <= now then
        p[3][index] = nil
      else
        away = away + count
        next_home = math.min(next_home or home_at, home_at)
      end
    end
    local limit, slot_in = limit_of(p[1], p[2], longest, bucket.r)
    local left = math.max(0, limit - away)
    free = math.min(free or left, left)
    pace = math.max(pace, p[2] / p[1])
    if left == 0 then wait = math.max(wait, slot_in, next_home and next_home - now or 0) end
    if p == periods[1] and limit > 0 then
      -- An even pace, as a single gateway keeps it: faster while many tokens are at home, and where the next comes home
      -- much later, those at home are spread until then.
      local even, share = limit * 1000000 / p[2], left / limit
      local least, most_often = math.max(0.95, 1.05 - limit / 1000), math.max(1.02, 1 + 3 / limit)
      rate = even * math.min(most_often, math.max(least, 1 + 2 * (share - 1 / 64)))
      local gap = next_home and (next_home - now) / 1000000 or 0
      if gap * even > 5 and left >= 1 then rate = math.min(rate, left / gap) end
      -- After idle time half of the ceiling may go at once, whatever is kept for those who are missing.
      local burst = p[1] * 500
      local most_credit = math.max(1000, burst)
      if next(bucket.w) ~= nil then most_credit = math.max(1500, math.floor(rate * 60)) end
      credit = bucket.c and bucket.c + math.floor(rate * math.max(0, now - bucket.t) / 1000) or burst
      credit = math.min(most_credit, math.max(credit, 0))
    end
  end
  if quiet_left > 0 then free, wait = 0, quiet_left end
  local lendable = math.min(free * 1000, credit)
  if lendable < 1000 and free >= 1 and rate > 0 then
    wait = math.max(wait, math.ceil((1000 - lendable) * 1000 / rate))
  end

  -- Shares of a token are counted in thousandths. What comes free is dealt to those who wait, by weight.
  local mine, due, total = nil, 0, 0
  if want > 0 then
    mine = bucket.w[name] or {0, 0, 0, 0}
    mine[1], mine[2] = weight, want
    bucket.w[name] = mine
  end
  for _, waiter in pairs(bucket.w) do
    due = due + waiter[3]
    total = total + waiter[1]
  end
  if due > lendable then
    for _, waiter in pairs(bucket.w) do
      if waiter[3] > 0 then waiter[3] = math.floor(waiter[3] * lendable / due) end
    end
    due = lendable
  end
  local fresh = lendable - due
  for _ = 1, 3 do
    local weights, dealt = 0, 0
    for _, waiter in pairs(bucket.w) do
      if waiter[3] < waiter[2] * 1000 then weights = weights + waiter[1] end
    end
    if weights == 0 or fresh <= 0 then break end
    for _, waiter in pairs(bucket.w) do
      local lacks = waiter[2] * 1000 - waiter[3]
      if lacks > 0 then
        local dealt_here = math.min(lacks, math.floor(fresh * waiter[1] / weights))
        waiter[3] = waiter[3] + dealt_here
        dealt = dealt + dealt_here
      end
    end
    fresh = fresh - dealt
  end
  local granted, back, base = 0, 0, now + lease + transit
  if mine then
    granted = math.min(want, math.floor(lendable / 1000), math.max(0, math.floor(mine[3] / 1000)))
    -- A whole token of which nobody has the whole is for whoever comes first and owes nothing.
    local whole = math.floor(lendable / 1000)
    for _, waiter in pairs(bucket.w) do whole = whole - math.max(0, math.floor(waiter[3] / 1000)) end
    if granted < want and whole >= 1 and mine[3] >= 0 then granted = granted + 1 end
    mine[3] = mine[3] - granted * 1000
    if granted == want then
      bucket.w[name] = nil
    else
      mine[2] = want - granted
      -- When it may have a whole one again. Where tokens are few, each goes to whoever is there when it comes home: then
      -- they all come, unless they are many.
      local each = pace * total / weight / 1000
      local its_own, debt = each * math.max(0, 1000 - mine[3]), each * math.max(0, -mine[3])
      local due_in = pace < 20000 and math.max(wait, its_own) or math.max(wait + debt, its_own / 4)
      back = math.max(20000, math.min(250000, math.ceil(due_in)))
      mine[4] = now + 2 * back + 100000
    end
  end
  bucket.c, bucket.t = credit - granted * 1000, now
  for _, p in ipairs(periods) do
    if granted > 0 then
      local to = home(base, p[2])
      p[3][to] = (p[3][to] or 0) + granted
    end
  end
  for i = #bucket.p, 1, -1 do
    if next(bucket.p[i][2]) == nil then table.remove(bucket.p, i) end
  end
  for other, at_then in pairs(bucket.r) do
    if now >= at_then + absent_for + quiet then bucket.r[other] = nil end
  end
  if #bucket.p == 0 and next(bucket.w) == nil and next(bucket.r) == nil then
    redis.call('HDEL', KEYS[2], 'b:' .. id)
  else
    redis.call('HSET', KEYS[2], 'b:' .. id, cmsgpack.pack(bucket))
  end
  local n = #told
  told[n + 1], told[n + 2], told[n + 3] = granted, base, back
end
return told
