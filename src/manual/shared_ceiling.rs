//! One ceiling for several gateways: the protocol, why no second sees more than the ceiling, and what remains.
//!
//! # The protocol
//!
//! Several gateways, called *replicas* here, share their ceilings through one Redis. There, each period of a ceiling has its
//! N tokens, and the store knows of each token that is away when it comes home, in slices of a hundred-and-twenty-eighth
//! of the period, rounded up. One script (`lend.lua`) does everything that concerns an app's tokens, in one step: all
//! levels and all periods.
//!
//! - **Loans.** A replica borrows a few tokens for a *lease* of 200 ms, sized by its recent demand, and gives turns with
//!   them as with its own, so a turn costs no round trip while there is room. The lease is counted by the replica's own
//!   clock from before the command left. The store has a token that it lends at `t` away until `t` + lease + `transit_max`
//!   + period.
//! - **Reports.** With its next command, within about 100 ms, a replica tells what became of tokens, each known by its
//!   loan. One that was not used is at home at once. One whose call was answered comes home a period after its answer,
//!   as a token of a single gateway does; the answer's age is counted to the moment at which the script runs, so never
//!   too long. A report that is lost changes nothing: the token comes home when its loan says.
//! - **Shares.** What comes free is dealt to the replicas whose calls wait, by the weight of the callers that wait there,
//!   in thousandths of a token. A token of which nobody has the whole goes to whoever asks first and owes nothing, who then
//!   owes the rest.
//!   The store says when to come back, so a replica that waits does not ask more often than there can be an answer.
//! - **Members.** Five times a second a replica says that it is there (`meet.lua`). Each has a *slot*, one of `max_replicas`.
//!   One that was not heard for half a second is *missing*, unless it said goodbye; one that starts with the same host and
//!   address takes the place of the one before. Each ceiling is lent less the parts of those who are missing.
//! - **Epochs.** The store's state has an id. It changes when the state is gone, when another server process answers (its
//!   `run_id` is asked for on each connection), when the server's clock was set, and when nobody was heard for so long that
//!   parts are spent. Then nothing is lent for a *quiet* time of 1 s + `transit_max` + lease, and by its end all is home
//!   that was lent before.
//!
//! - **Masters.** On each connection the server is asked whether it is a master: a replica's copy may be behind. In a cluster
//!   the node that has the slot is found by its redirections; while the slot is on its way (`ASK`), the store is lost, since
//!   a script needs all keys in one place. Sentinels are asked anew for each connection, all at once, and what most of them
//!   say is tried first. Wherever the keys go, another server process has them, so an epoch begins.
//!
//! All keys stand in one slot of a Redis Cluster, by the tag `{usersig-gateway}`: a script must see the members and an
//! app's tokens in the same moment. A tag for each app would spread the work over the nodes. But then each app would need
//! members of its own, so every replica would have to say five times a second of every app that it is there; or it would
//! say so only of those that it calls at present, and have no part of all others when the store is lost. One node does
//! more than 10,000 commands a second, and a busy app needs one for five calls or more (`benches/README.md`).
//!
//! # Why no second sees more than the ceiling
//!
//! As for a single gateway (the module `tokens` of [`crate::gateway::admission`]), two arrivals by one token are at least
//! a period apart, here because the store lends it again only a period after the latest moment at which its call can have
//! arrived. A call leaves while its lease runs, which is asked right before the kernel is given its first bytes, with
//! nothing between; so it arrives within lease + `transit_max` of the loan. If it was answered it arrived before the
//! answer, and the store learns of that at most as an earlier homecoming. Whose last byte leaves after the lease says so,
//! and the token is then away from that moment on.
//!
//! What may go wrong, and why it does not break this:
//!
//! - **An answer of the store is lost.** Nobody uses what it lent. Commands are never repeated.
//! - **A command is done late**, because it lay in a buffer. It says what time it should be; when it is done later than
//!   twice the timeout, it does nothing.
//! - **A replica dies.** Its tokens come home when its loans say.
//! - **A replica is stopped and goes on.** Its leases are over by its own clock, which did not stop.
//! - **The store forgets everything**, or is restored from an old copy. Another process answers, so an epoch begins, and
//!   by the end of its quiet time all that was lent is home. Members who remember others tell the store of them. Periods
//!   longer than a second are remembered by the replicas, which tell what they themselves have sent.
//! - **The store's clock is set**, or another server with another clock takes over. A replica knows what time it is there to
//!   within the time that a command takes. If an answer cannot be reconciled with that by more than 5 ms, the replica
//!   throws away what came with it and has an epoch begun. Steps up to 5 ms are covered by as much that every token comes
//!   home later. When the clock was set back, homecomings are cut to what they can be at most, so nobody starves for longer
//!   than the quiet time.
//!
//! # Without the store
//!
//! A replica whose command is not answered within `timeout` is out of touch. It sends what it has on loan until that
//! ends, and nothing else but a look now and then whether the store is back. Such a look does not make it a member again.
//! It begins to spend its **part**, the ceiling divided by `max_replicas`, once
//! 2 × `timeout` + 0.5 s (so long the store may take to miss it) + lease + `transit_max` + period have passed since it
//! last said that it is there. By then the store, if it is there for others, has kept that part back for so long that
//! everything that it lent before is home. So those who are cut off have their parts, and those who are not have the
//! rest: together no more than the ceiling. If nobody has a store, each has its part, and there are no more than
//! `max_replicas` of them.
//!
//! After `absent_for` a replica stops: from then on its part is lent to others again.
//!
//! **What callers notice.** In the gap, of g seconds, calls wait: 2.05 s at most as the settings come. After it as many go at
//! once as after any idle time, up to `burst` and up to the part, since the replica sent nothing for a whole second. Then
//! turns come evenly. Where a calls a second come and the part is p, no more than half of the ceiling:
//!
//! - If a × (g + 1) ≤ p, all that waited go at once, and there are tokens for the next second, too. Whoever comes after the gap
//!   waits no longer than before the loss: with the ceiling of 200 for three replicas, at up to 21 calls a second each.
//! - Otherwise calls wait, less and less, until those who waited have gone, g × a / (p − a) after the gap: 2 s at half of
//!   the part, 18 s at nine tenths of it. No schedule that keeps the part is more than a second quicker: k seconds let
//!   k × p calls through, and once more p only where all of each second go in its first moment. So that second would cost a clump
//!   in every one.
//! - At more than the part they wait as under any ceiling that is too small, until the store is back.
//!
//! When the store comes back, the parts are spent until it lends, so nobody waits anew. After a loss that was shorter than the gap
//! there is no part yet: what waited meanwhile goes the same way, up to half of the ceiling at once for all replicas
//! together, then evenly. A replica looks for the store five times a second, and ten times while its part is spent, so that
//! no pause comes between where the store answers within a tenth of a second.
//!
//! **Who never met the store.** A process that starts while the store is lost has its part, too, once the same time has
//! passed since it started: by then nothing is under way any more of what others borrowed before, nor of what a process
//! sent in whose place it is. Otherwise a rollout during an outage would end with gateways that send nothing. If nobody has
//! a store this is as exact as before, as long as no more than `max_replicas` run at a time. If the store is there for others
//! it is not, since nobody keeps a part for one of whom nobody heard: see below. So whoever had a word of the store, if
//! only that the password is wrong, knows that it is there, and has no part until it is a member. When the store is back, an
//! epoch begins if nobody was heard for so long, so that such a process is a member before anything is lent.
//!
//! A ceiling with fewer tokens than there may be replicas cannot be divided. Replicas then take turns by the store's clock,
//! as they know it: in a slot of period + `transit_max` + 0.6 s, as many of them may send one call each as the ceiling
//! has tokens, in its first 0.3 s. So calls of different slots arrive at least a period apart, even when clocks differ by
//! 0.15 s. While somebody is missing, the store itself lends such a ceiling by the same slots. By how much the store's clock
//! stepped is told by those who were there before, whatever it remembers of that. Who never met the store knows no slot, and
//! sends nothing under such a ceiling.
//!
//! **The way back.** A replica that meets the store again says whether it spent its part. If the store lends nothing yet,
//! it goes on to spend its part until it does. With its first command for each ceiling it tells what it sent, and
//! from then on the part is not kept for it any more; where it has nothing to say, the part is kept until all that it can
//! have sent is home.
//!
//! # What remains
//!
//! - **A pause between the question and the write.** The machine can stop a process between the question whether the lease
//!   still runs and the kernel's taking the bytes: a microsecond. So can a network card or a switch between there and
//!   Tencent; that is what `transit_max` is for.
//! - **A machine that sleeps.** The process's clock stands still while the whole machine is suspended, and leases seem
//!   to run on. Do not suspend gateways.
//! - **Two masters.** A Redis that two halves of a network each take for theirs lends twice. Have the old master refuse
//!   writes when it sees no replica (`min-replicas-to-write`).
//! - **There and back.** When a master is followed by its replica, which was behind, and is master again before any gateway met
//!   the other one, all within the quiet time, then what was lent last is forgotten, and nobody notices. Do not fail over
//!   twice within seconds.
//! - **Memory lost twice.** A store that forgets while one replica was out of touch, and then hears only from that one,
//!   does not know of a replica that joined between and is out of touch, too; nor does one that forgets before anybody else
//!   heard of a replica that was there for 0.2 s, and is out of touch since.
//! - **A newcomer that is cut off alone.** A process that never had a word of the store, while others have it, sends up to
//!   its part on top of what they send, for `absent_for` at most. Tencent then refuses some calls as too frequent; they wait
//!   for another turn, and the budget is lowered as long as that goes on.
//! - **More gateways than `max_replicas`** have no slot, so no part: they send nothing while the store is lost.
//! - **A long period** that is longer than `absent_for` has no part at all: its tokens cannot be home in time.
//! - **Cuts** after Tencent's own refusals, and the ceiling over all APIs that such a refusal begins, are each gateway's own.
