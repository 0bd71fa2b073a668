//! The runtime for everything that is not on a call's way.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// A thread and an event loop beside the workers'. Dropping it ends what runs there, at once and wherever that happens:
/// a bare runtime must not be dropped by a task of another one.
#[derive(Debug)]
pub(super) struct Control(Option<Runtime>);

impl Control {
    pub(super) fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("only dropping takes the runtime").handle()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_can_be_dropped_by_a_task_of_another_runtime() {
        let control = Control::start().unwrap();
        let task = control.handle().spawn(std::future::pending::<()>());
        drop(control);
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
