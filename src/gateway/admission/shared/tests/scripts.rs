//! The scripts do in a real Redis what the model does, word for word, whatever is said to them and in whatever order.
//! Only the server's clock is set by hand: `TIME` becomes a look at two keys.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use redis::aio::MultiplexedConnection;

use super::super::client::{LEND, MEET, word};
use super::super::encode;
use super::super::model::Model;
use super::super::protocol::{Kind, Lend, Lent, Meet, Member, Met, Opening, Report, Terms, Wish};
use super::server::{Server, programs};
use crate::model::ceiling::Ceiling;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// Time goes by.
    Wait(i64),
    /// The server's clock is set.
    Set(i64),
    /// Another server process, with what was kept or with nothing.
    Restart { empty: bool },
    /// What is known of an app gets lost.
    Evict(u64),
    /// A replica meets the others.
    Meet {
        who: usize,
        incarnation: usize,
        spent: bool,
        leaves: bool,
        slot: i64,
        introduces: bool,
        tells_step: bool,
        tells_shift: bool,
        late: bool,
    },
    /// A replica borrows.
    Lend {
        who: usize,
        app: u64,
        wishes: Vec<(usize, u32, u32, bool)>,
        reports: Vec<(Kind, usize, u32, i64)>,
        late: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![1 => Just(Kind::Unused), 3 => Just(Kind::Answered), 1 => Just(Kind::Late), 1 => Just(Kind::Unknown)];
    let rarely = |one_in: u32| prop::bool::weighted(1.0 / f64::from(one_in));
    let meet = (
        0..4_usize,
        rarely(6),
        rarely(6),
        rarely(12),
        -1..4_i64,
        rarely(6),
        rarely(2),
        rarely(2),
        rarely(20),
    )
        .prop_map(|(who, other, spent, leaves, slot, introduces, tells_step, tells_shift, late)| {
            Event::Meet {
                who,
                incarnation: usize::from(other),
                spent,
                leaves,
                slot,
                introduces,
                tells_step,
                tells_shift,
                late,
            }
        });
    let wish = (0..3_usize, prop_oneof![Just(0_u32), 1..9_u32, 1..60_u32], 1..5_u32, rarely(8));
    let report = (kind, 0..8_usize, 1..6_u32, -50_000..400_000_i64);
    let lend = (
        0..4_usize,
        0..2_u64,
        prop::collection::vec(wish, 1..3),
        prop::collection::vec(report, 0..4),
        rarely(20),
    );
    let lend =
        lend.prop_map(|(who, app, wishes, reports, late)| Event::Lend { who, app, wishes, reports, late });
    prop_oneof![
        6 => prop_oneof![0..30_000_i64, 0..300_000_i64, 0..3_000_000_i64].prop_map(Event::Wait),
        1 => (-2_000_000..2_000_000_i64).prop_map(Event::Set),
        1 => rarely(3).prop_map(|empty| Event::Restart { empty }),
        1 => (0..2_u64).prop_map(Event::Evict),
        8 => meet,
        16 => lend,
    ]
}

/// The real store and the model, told the same.
struct Both {
    connection: MultiplexedConnection,
    model: Model,
    now: i64,
    run: u32,
    nonces: u64,
    epoch: Arc<str>,
    version: i64,
    step: i64,
    shift: i64,
    /// By what loans are known.
    bases: Vec<i64>,
}

impl Both {
    async fn begin(connection: MultiplexedConnection) -> Self {
        let mut both = Self {
            connection,
            model: Model::default(),
            now: 1_800_000_000_000_000,
            run: 0,
            nonces: 0,
            epoch: "".into(),
            version: -1,
            step: 0,
            shift: 0,
            bases: vec![0; 8],
        };
        both.flush().await;
        both
    }

    async fn flush(&mut self) {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut self.connection).await.unwrap();
        self.model = Model::default();
    }

    async fn script(&mut self, script: &str, keys: &[&str], words: Vec<String>) -> Vec<encode::Word> {
        let (seconds, micros) = (self.now.div_euclid(1_000_000), self.now.rem_euclid(1_000_000));
        let script = script.replace("redis.call('TIME')", &format!("{{'{seconds}', '{micros}'}}"));
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(keys.len()).arg(keys).arg(words);
        let values: Vec<redis::Value> = command.query_async(&mut self.connection).await.unwrap();
        values.into_iter().map(|value| word(value).unwrap()).collect()
    }

    fn opening(&self, who: usize, late: bool) -> Opening {
        let terms = Terms {
            timeout: Duration::from_millis(50),
            max_replicas: 3,
            absent_for: Duration::from_secs(8),
            transit_max: Duration::from_millis(250),
        };
        let expected = self.now - if late { 200_000 } else { 0 };
        Opening { run: format!("run{}", self.run).into(), expected, name: format!("host{who}").into(), terms }
    }

    async fn happens(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Wait(micros) => self.now += micros,
            Event::Set(by) => {
                self.now += by;
                self.step += by;
            }
            Event::Evict(app) => {
                let app = (app + 1).try_into().unwrap();
                let key = format!("{{u}}:app:{app}");
                let _: () = redis::cmd("DEL").arg(key).query_async(&mut self.connection).await.unwrap();
                self.model.evict(app);
            }
            Event::Restart { empty } => {
                self.run += 1;
                if empty {
                    self.flush().await;
                }
            }
            Event::Meet {
                who,
                incarnation,
                spent,
                leaves,
                slot,
                introduces,
                tells_step,
                tells_shift,
                late,
            } => {
                self.nonces += 1;
                let known =
                    Member { name: "host9".into(), incarnation: "old".into(), slot: 2, is_there: false };
                let ask = Meet {
                    opening: self.opening(who, late),
                    nonce: format!("epoch{}", self.nonces),
                    incarnation: format!("process{incarnation}").into(),
                    epoch: self.epoch.clone(),
                    step: if tells_step { self.step } else { 0 },
                    shift: tells_shift.then_some(self.shift + self.step),
                    slot,
                    is_member: incarnation == 0 && slot >= 0,
                    spent,
                    leaves,
                    version: self.version,
                    known: introduces.then_some(known).into_iter().collect(),
                };
                self.meet(&ask).await?;
            }
            Event::Lend { who, app, wishes, reports, late } => {
                self.nonces += 1;
                let reports = reports.into_iter();
                let reports: Vec<_> = reports
                    .map(|(kind, which, count, age)| Report { kind, base: self.bases[which], count, age })
                    .collect();
                let wish = |(which, want, weight, registers): (usize, u32, u32, bool)| Wish {
                    id: format!("api{which}").into(),
                    want,
                    weight,
                    periods: PERIODS[which]
                        .iter()
                        .map(|&(limit, milliseconds)| period(limit, milliseconds))
                        .collect(),
                    registers,
                    reports: reports.clone(),
                };
                let ask = Lend {
                    opening: self.opening(who, late),
                    nonce: format!("time{}", self.nonces),
                    epoch: self.epoch.clone(),
                    app: (app + 1).try_into().unwrap(),
                    ceilings: wishes.into_iter().map(wish).collect(),
                };
                self.lend(&ask).await?;
            }
        }
        Ok(())
    }

    async fn meet(&mut self, ask: &Meet) -> Result<(), TestCaseError> {
        let told = self.script(MEET, &["{u}:replicas"], encode::meet(ask)).await;
        let mut told = encode::met(told).unwrap();
        if let Met::Member(membership) = &mut told {
            // Lua's tables have no order.
            membership.members.sort_by(|one, other| one.name.cmp(&other.name));
            self.step = 0;
            self.shift = membership.shift;
            self.epoch = membership.epoch.clone();
            self.version = membership.version;
        }
        prop_assert_eq!(&told, &self.model.meet(self.now, ask), "{:?}", ask);
        Ok(())
    }

    async fn lend(&mut self, ask: &Lend) -> Result<(), TestCaseError> {
        let app = format!("{{u}}:app:{}", ask.app);
        let told = self.script(LEND, &["{u}:replicas", &app], encode::lend(ask)).await;
        let told = encode::lent(told).unwrap();
        if let Lent::Loans { loans, .. } = &told {
            for loan in loans.iter().filter(|loan| loan.granted > 0) {
                self.bases.remove(0);
                self.bases.push(loan.base);
            }
        }
        prop_assert_eq!(&told, &self.model.lend(self.now, ask), "{:?}", ask);
        Ok(())
    }
}

/// Of each ceiling its limits and periods in milliseconds: one with several, and one with fewer tokens than replicas.
const PERIODS: [&[(u32, u64)]; 3] = [&[(20, 1_000)], &[(5, 500), (9, 4_000)], &[(1, 1_000)]];

fn period(limit: u32, milliseconds: u64) -> Ceiling {
    Ceiling { limit: limit.try_into().unwrap(), period: Duration::from_millis(milliseconds) }
}

#[test]
fn the_scripts_do_what_the_model_does_in_every_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Most of it in the first.
    for (program, share) in programs().iter().zip([0.1, 0.02, 0.02]) {
        let server = runtime.block_on(Server::start(program));
        let connection = runtime.block_on(server.connect());
        let config = super::super::super::tests::schedules(share);
        proptest!(config, |(events in prop::collection::vec(event(), 1..80))| {
            runtime.block_on(async {
                let mut both = Both::begin(connection.clone()).await;
                for event in events {
                    both.happens(event).await?;
                }
                Ok::<(), TestCaseError>(())
            })?;
        });
    }
}
