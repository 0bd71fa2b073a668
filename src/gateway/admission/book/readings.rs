//! How the ceilings of an app stand, for those who look at them from outside.

use std::sync::Arc;

use tokio::time::Instant;

use super::state::{Counted, State, Whose};
use super::{Book, WHOLE_APP};
use crate::gateway::admission::Reading;
use crate::gateway::admission::bucket::Bucket;
use crate::model::app::AppName;

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
                unproven: counted.unproven + bucket.unproven(),
                shadowed: counted.shadowed,
            });
        });
        readings
    }

    fn each_in_use(&self, mut look: impl FnMut(InUse<'_>, Instant)) {
        let mut state = self.lock();
        let now = Instant::now();
        let State { name, apis, app, waiting, counted, .. } = &mut *state;
        let counted = |whose| counted.get(&whose).copied().unwrap_or_default();
        for (&key, page) in apis {
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
