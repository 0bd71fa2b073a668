//! How the ceilings of an app stand, for those who look at them from outside.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::state::{Counted, State, Whose};
use super::{Book, WHOLE_APP};
use crate::gateway::admission::bucket::Bucket;
use crate::gateway::admission::{Reading, Waiting};
use crate::model::app::AppName;
use crate::model::ceiling::Ceiling;

/// One period of a ceiling of which four fifths are in use.
#[derive(Debug)]
pub(in crate::gateway::admission) struct NearlyUsed {
    pub(in crate::gateway::admission) app: AppName,
    pub(in crate::gateway::admission) api: Arc<str>,
    /// Which one of the ceiling's periods it is. A cut makes the first one longer at times.
    pub(in crate::gateway::admission) nth: usize,
    pub(in crate::gateway::admission) ceiling: Ceiling,
    pub(in crate::gateway::admission) used: u32,
    pub(in crate::gateway::admission) waiting: usize,
}

/// One ceiling that is in use.
struct InUse<'a> {
    app: &'a AppName,
    api: Arc<str>,
    bucket: &'a mut Bucket,
    waiting: usize,
    /// What was counted beside what the bucket counts.
    counted: Counted,
}

impl Book {
    /// How every ceiling stands.
    pub(in crate::gateway::admission) fn readings(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.each_in_use(|InUse { app, api, bucket, waiting, counted }, now| {
            let (ceiling, used) = bucket.first(now);
            readings.push(Reading {
                app: app.clone(),
                api,
                per_second: ceiling.rate(),
                limit: ceiling.limit.get(),
                used,
                waiting,
                leased: bucket.leases().map_or(0, |leases| leases.at_hand(now)),
                unproven: counted.unproven + bucket.unproven(),
                shadowed: counted.shadowed,
            });
        });
        readings
    }

    /// How many calls of each caller wait, at whatever API.
    pub(in crate::gateway::admission) fn waiting(&self) -> Vec<Waiting> {
        let state = self.lock();
        let mut waiting: HashMap<&Arc<str>, usize> = HashMap::new();
        for (caller, calls) in state.apis.iter().flat_map(|page| page.queue.callers()) {
            *waiting.entry(caller).or_default() += calls;
        }
        let told = |(caller, calls): (&Arc<str>, usize)| Waiting {
            app: state.name.clone(),
            caller: Arc::clone(caller),
            calls,
        };
        waiting.into_iter().map(told).collect()
    }

    /// Which ceilings are nearly used up, in whichever of their periods.
    pub(in crate::gateway::admission) fn nearly_used(&self) -> Vec<NearlyUsed> {
        let mut nearly_used = Vec::new();
        self.each_in_use(|InUse { app, api, bucket, waiting, .. }, now| {
            for (nth, (ceiling, used)) in bucket.standing(now).enumerate() {
                if is_nearly_used(ceiling.limit.get(), used, waiting) {
                    let (app, api) = (app.clone(), Arc::clone(&api));
                    nearly_used.push(NearlyUsed { app, api, nth, ceiling, used, waiting });
                }
            }
        });
        nearly_used
    }

    fn each_in_use(&self, mut look: impl FnMut(InUse<'_>, Instant)) {
        let (mut state, now) = self.lock_now();
        let State { name, apis, app, waiting, counted, .. } = &mut *state;
        let counted = |whose: Whose| counted.get(&whose).copied().unwrap_or_default();
        for (key, page) in apis.iter_mut() {
            let Some(bucket) = &mut page.bucket else { continue };
            let (api, waiting) = (Arc::clone(&page.api.label), page.queue.len());
            look(InUse { app: name, api, bucket, waiting, counted: counted(Whose::Api(key)) }, now);
        }
        if let Some(app) = app {
            let (bucket, waiting) = (&mut app.bucket, waiting.len());
            look(
                InUse { app: name, api: WHOLE_APP.into(), bucket, waiting, counted: counted(Whose::App) },
                now,
            );
        }
    }
}

/// Whether four fifths of it are in use, as in Tencent's own alarm (`Alert.RequestOverLimit`). Of a few tokens each is
/// more than that, so there it says nothing unless calls wait.
fn is_nearly_used(limit: u32, used: u32, waiting: usize) -> bool {
    u64::from(used) * 5 >= u64::from(limit) * 4 && (limit >= FEW || waiting > 0)
}

const FEW: u32 = 5;
