//! What callers were told, held against what the sandboxes' books have of their calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use usersig_gateway::sandbox::{Call, Report, Verdict};

use crate::client::{Answer, Client, post};

pub(crate) const READ: &str = "live_config/get_callback";
/// May not be repeated once it was sent.
pub(crate) const WRITE: &str = "openim/sendmsg";

/// What a caller sent, and was told.
pub(crate) struct Told {
    name: String,
    pub(crate) is_read: bool,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) answer: Answer,
}

/// What the books have of one call.
#[derive(Debug, Default)]
pub(crate) struct Booked {
    arrived: u64,
    executed: u64,
}

/// What the books have, by the calls' names.
pub(crate) struct Books(HashMap<String, Booked>);

/// Reads and writes by chance, one after the other and with this pause between them, by so many callers until it is over.
pub(crate) async fn call_until(
    over: &Arc<AtomicBool>,
    host: &str,
    callers: u64,
    pause: Duration,
) -> Vec<Told> {
    let mut all = JoinSet::new();
    for caller in 0..callers {
        let (host, over) = (host.to_owned(), Arc::clone(over));
        all.spawn(async move {
            let mut random = fastrand::Rng::with_seed(caller);
            let (mut client, mut told) = (Client::to(&host).await, Vec::new());
            while !over.load(Ordering::Relaxed) {
                told.push(call(&mut client, format!("{caller}-{}", told.len()), random.bool()).await);
                tokio::time::sleep(pause).await;
            }
            told
        });
    }
    all.join_all().await.into_iter().flatten().collect()
}

async fn call(client: &mut Client, name: String, is_read: bool) -> Told {
    let (api, began) = (if is_read { READ } else { WRITE }, Instant::now());
    let answer = client.send(post(&format!("/v4/{api}?call={name}"), "{}")).await;
    Told { name, is_read, began, took: began.elapsed(), answer }
}

/// What the caller added to its call's query.
fn name(call: &Call) -> &str {
    let query = call.query.as_deref().expect("every call has one");
    query.rsplit_once("&call=").expect("callers say which one it is").1
}

// === impl Told ===

impl Told {
    pub(crate) fn is_ok(&self) -> bool {
        self.answer.codes() == (200, 0)
    }

    /// How many tries it took, by the answer's own word.
    pub(crate) fn tries(&self) -> u64 {
        match self.answer.header("x-gateway-attempts") {
            "" => 1,
            tries => tries.parse().unwrap(),
        }
    }
}

// === impl Books ===

impl Books {
    /// Of these sandboxes together.
    pub(crate) fn of(reports: &[&Report]) -> Self {
        let mut books: HashMap<String, Booked> = HashMap::new();
        for report in reports {
            assert_eq!(report.calls.len() as u64, report.arrived, "the books are whole");
            for call in &report.calls {
                let booked = books.entry(name(call).to_owned()).or_default();
                booked.arrived += 1;
                booked.executed += u64::from(call.verdict == Verdict::Accepted);
            }
        }
        Self(books)
    }

    /// How many tries arrived, of all calls.
    pub(crate) fn all_arrived(&self) -> u64 {
        self.0.values().map(|booked| booked.arrived).sum()
    }

    /// How many tries of the call arrived.
    pub(crate) fn arrived(&self, told: &Told) -> u64 {
        self.0.get(&told.name).map_or(0, |booked| booked.arrived)
    }

    /// How often the call was executed.
    pub(crate) fn executed(&self, told: &Told) -> u64 {
        self.0.get(&told.name).map_or(0, |booked| booked.executed)
    }

    /// Whether the caller was told the truth, and no write was executed twice.
    pub(crate) fn agree_with(&self, told: &Told) {
        let Told { name, is_read, answer, .. } = told;
        let (nothing, tries) = (Booked::default(), told.tries());
        let booked @ Booked { arrived, executed } = self.0.get(name).unwrap_or(&nothing);
        assert!(*is_read || *executed <= 1, "{name}: a write was executed twice");
        if told.is_ok() {
            assert!(*executed >= 1, "{name}: was told of a success that there was not");
            return;
        }
        assert!(
            matches!(answer.codes(), (502, 9_900_502) | (504, 9_900_504)),
            "{name}: {:?}",
            answer.codes()
        );
        let info = answer.error_info();
        let may_have_been = info.contains("the call may have been executed");
        assert!(may_have_been != info.contains("the call was not sent"), "{name}: {info}");
        assert!(may_have_been || *arrived == 0, "{name}: {booked:?} after {tries} tries: {info}");
    }
}
