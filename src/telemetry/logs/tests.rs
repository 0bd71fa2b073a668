use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for &Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = &'a Captured;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The lines that `log` leaves behind.
fn lines(json: bool, level: Level, rust_log: Option<&str>, log: impl FnOnce()) -> Vec<String> {
    let captured = Captured::default();
    let (subscriber, _) = subscriber(json, level, rust_log, captured.clone());
    tracing::subscriber::with_default(subscriber, log);
    let written = captured.0.lock().unwrap().clone();
    String::from_utf8(written).unwrap().lines().map(str::to_owned).collect()
}

/// One event of each level under a target, which the message repeats.
macro_rules! speak {
    ($($target:literal),*) => {{ $(
        tracing::error!(target: $target, "{} error", $target);
        tracing::warn!(target: $target, "{} warn", $target);
        tracing::info!(target: $target, "{} info", $target);
        tracing::debug!(target: $target, "{} debug", $target);
        tracing::trace!(target: $target, "{} trace", $target);
    )* }};
}

/// The messages of the lines that `speak` leaves behind.
fn heard(level: Level, rust_log: Option<&str>, log: impl FnOnce()) -> Vec<String> {
    let message = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["message"].as_str().unwrap().to_owned()
    };
    lines(true, level, rust_log, log).into_iter().map(message).collect()
}

#[test]
fn rust_log_never_opens_what_sees_whole_requests() {
    for rust_log in [
        "trace",
        "h2=trace,hyper=trace,hyper_util=trace,rustls=trace,tokio_rustls=trace",
        "hyper::proto::h1=trace,h2::codec=debug",
        "[{request}]=trace",
    ] {
        let heard = heard(Level::Trace, Some(rust_log), || {
            speak!("h2", "h2::codec::framed_read", "hyper", "hyper::proto::h1::io", "hyper_util::client");
            speak!("rustls::client::hs", "tokio_rustls");
            let span = tracing::info_span!("outer", request = 1);
            span.in_scope(|| speak!("hyper::proto"));
        });
        assert_eq!(heard, [""; 0], "{rust_log}");
    }
}

#[test]
fn other_libraries_stop_at_info_and_we_do_not() {
    let heard = heard(Level::Trace, Some("trace"), || speak!("tower", "usersig_gateway::gateway"));
    let ours = ["error", "warn", "info", "debug", "trace"].map(|l| format!("usersig_gateway::gateway {l}"));
    let expected: Vec<String> =
        ["tower error", "tower warn", "tower info"].map(str::to_owned).into_iter().chain(ours).collect();
    assert_eq!(heard, expected);
}

#[test]
fn the_level_comes_from_settings_unless_rust_log_says_otherwise() {
    let count =
        |level, rust_log| heard(level, rust_log, || speak!("usersig_gateway::a", "usersig_gateway::b")).len();
    assert_eq!(count(Level::Error, None), 2);
    assert_eq!(count(Level::Info, None), 6);
    assert_eq!(count(Level::Info, Some("")), 6);
    assert_eq!(count(Level::Info, Some("debug")), 8);
    assert_eq!(count(Level::Debug, Some("warn")), 4);
    // The level stays as it is where RUST_LOG says nothing.
    assert_eq!(count(Level::Info, Some("usersig_gateway::a=trace")), 8);
    assert_eq!(count(Level::Info, Some("usersig_gateway::a=off")), 3);
}

#[test]
fn a_malformed_rust_log_is_told_and_ignored() {
    let (_, bad) = filter::asked_for(Level::Info, Some("usersig_gateway=loud"));
    let told = bad.expect("an error").to_string();
    assert!(told.contains("\"usersig_gateway=loud\"") && told.contains("target=level"), "{told}");
    assert!(filter::asked_for(Level::Info, Some("usersig_gateway=debug")).1.is_none());
    assert_eq!(heard(Level::Warn, Some("=a=b=,]["), || speak!("usersig_gateway")).len(), 2);
}

#[test]
fn json_has_its_fields_at_the_top() {
    let lines = lines(true, Level::Info, None, || {
        tracing::info!(target: "usersig_gateway::test", app = "live", expires = 7, "signed\na UserSig");
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "signed\na UserSig");
    assert_eq!(line["target"], "usersig_gateway::test");
    assert_eq!((&line["app"], &line["expires"]), (&"live".into(), &7.into()));
    assert!(is_rfc_3339_utc(line["timestamp"].as_str().unwrap()), "{line}");
}

#[test]
fn readable_lines_begin_with_the_time_and_the_level() {
    let lines = lines(false, Level::Info, None, || {
        tracing::warn!(target: "usersig_gateway::test", app = "live", "odd");
    });
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert!(is_rfc_3339_utc(time), "{time}");
    assert_eq!(rest.trim_start(), "WARN usersig_gateway::test: odd app=\"live\"");
}

#[test]
fn json_is_for_machines_unless_asked() {
    let json = [Format::Auto, Format::Json, Format::Text]
        .map(|format| [true, false].map(|on_a_terminal| format.is_json(on_a_terminal)));
    assert_eq!(json, [[false, true], [true, true], [false, false]]);
}

/// `2026-01-02T03:04:05.678901Z`.
fn is_rfc_3339_utc(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape.starts_with("0000-00-00T00:00:00.") && shape.ends_with("0Z")
}
