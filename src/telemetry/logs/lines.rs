//! Writes lines from a thread of its own, so that nobody who logs ever waits.
//!
//! A line is copied into a queue that is bounded by its bytes. The thread takes it from there and writes it, however
//! long that takes; when the sink is gone, lines vanish. When the queue is full, because whoever reads the log has
//! stopped, new lines are dropped and counted, and their number is told once there is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of lines that wait to be written.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// What one line costs in the queue beside its text.
const LINE_OVERHEAD: usize = 64;

/// How long the end of the process waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// Takes lines. Clones feed the same thread.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: Sender<Message>,
    state: Arc<State>,
}

/// Waits, when it is dropped, until the lines that were logged so far are written, but for a second at most.
#[derive(Debug)]
#[must_use = "the last lines are waited for when this is dropped"]
pub struct Flush(Sender<Message>);

#[derive(Debug, Default)]
struct State {
    /// Bytes in the queue. Added by whoever logs, subtracted by the thread once they are written.
    queued: AtomicUsize,
    /// Lines that were dropped and not told of yet.
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// Answer once everything before this is written.
    Flush(SyncSender<()>),
}

// === impl Lines ===

impl Lines {
    /// Starts the thread. It ends when nobody is left who could log. `tell_lost` is called on it with the number of
    /// lines that were dropped since the last time; it may log.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        tell_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, Flush)> {
        let (queue, lines) = channel();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || write_all(&lines, &shared, sink, tell_lost))?;
        Ok((Self { queue: queue.clone(), state }, Flush(queue)))
    }

    fn push(&self, line: Box<[u8]>) {
        let cost = line.len() + LINE_OVERHEAD;
        let room = |queued: usize| queued.checked_add(cost).filter(|&sum| sum <= QUEUE_BYTES);
        let queued = &self.state.queued;
        let fits = queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if !fits || self.queue.send(Message::Line(line)).is_err() {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// One event is written by one call.
impl Write for &Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.push(one_line(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line: a field that holds a line break must not look like a second event.
fn one_line(event: &[u8]) -> Box<[u8]> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        return event.into();
    }
    let mut line = Vec::with_capacity(event.len() + 16);
    for &byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(byte),
        }
    }
    line.push(b'\n');
    line.into()
}

// === the thread ===

fn write_all(lines: &Receiver<Message>, state: &State, mut sink: impl Write, tell_lost: impl Fn(u64)) {
    // A sink that fails is tried again with the next line; there is no other place to complain.
    for message in lines {
        match message {
            Message::Line(line) => {
                _ = sink.write_all(&line);
                state.queued.fetch_sub(line.len() + LINE_OVERHEAD, Ordering::Relaxed);
            }
            Message::Flush(done) => {
                _ = sink.flush();
                _ = done.try_send(());
            }
        }
        let lost = state.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tell_lost(lost);
        }
    }
}

// === impl Flush ===

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.0.send(Message::Flush(done)).is_ok() {
            _ = written.recv_timeout(FLUSH_WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what is written, after waiting for a permission each time if there is a gate.
    #[derive(Clone)]
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Option<Arc<Mutex<Receiver<()>>>>,
    }

    impl Sink {
        fn open() -> Self {
            Self { written: Arc::default(), gate: None }
        }

        fn gated() -> (Self, Sender<()>) {
            let (permit, gate) = channel();
            (Self { gate: Some(Arc::new(Mutex::new(gate))), ..Self::open() }, permit)
        }

        fn text(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = &self.gate {
                // Open for good once the other end is dropped.
                _ = gate.lock().unwrap().recv();
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(mut lines: &Lines, line: &str) {
        lines.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_written_in_order_before_the_end() {
        let sink = Sink::open();
        let (lines, flush) = Lines::start(sink.clone(), |_| ()).unwrap();
        for n in 0..100 {
            log(&lines, &format!("line {n}\n"));
        }
        drop(flush);
        let expected: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(sink.text(), expected);
    }

    #[test]
    fn a_sink_that_stands_still_costs_lines_and_no_time() {
        let (sink, permit) = Sink::gated();
        let (told, lost) = channel();
        let (lines, flush) = Lines::start(sink.clone(), move |n| told.send(n).unwrap()).unwrap();
        let line = format!("{}\n", "x".repeat(64 * 1024 - 1));
        let fit = QUEUE_BYTES / (line.len() + LINE_OVERHEAD);
        for _ in 0..fit + 10 {
            log(&lines, &line);
        }
        assert_eq!(lines.state.lost.load(Ordering::Relaxed), 10);
        drop(permit);
        drop(flush);
        assert_eq!(sink.text().len(), fit * line.len());
        assert_eq!(lost.recv(), Ok(10));
        assert_eq!(lines.state.queued.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_sink_that_is_gone_does_no_harm() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (lines, flush) = Lines::start(Gone, |_| ()).unwrap();
        log(&lines, "one\n");
        drop(flush);
        log(&lines, "two\n");
        let (done, written) = sync_channel(1);
        lines.queue.send(Message::Flush(done)).unwrap();
        assert_eq!(written.recv(), Ok(()), "the thread goes on");
        assert_eq!(lines.state.queued.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        assert_eq!(&*one_line(b"a b\n"), b"a b\n");
        assert_eq!(&*one_line(b"a\nFAKED\r\nb\n"), b"a\\nFAKED\\r\\nb\n");
    }
}
