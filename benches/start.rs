//! How long `demo` takes from the start of its process to its first answered call, through gateway and sandbox.
//!
//! `cargo bench --bench start` starts it twenty times on its default ports, which must be free, and prints minimum,
//! median and maximum.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tokio::time::Instant;

const ROUNDS: usize = 20;
const CALL: &str = "POST /v4/live_config/get_callback HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

fn main() {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| time()).collect();
    times.sort();
    let [least, median, most] =
        [times[0], times[ROUNDS / 2], times[ROUNDS - 1]].map(|time| time.as_secs_f64() * 1e3);
    println!("first answer of `demo` after {least:.0} ms, median {median:.0} ms, at most {most:.0} ms");
}

fn time() -> Duration {
    assert!(TcpStream::connect(GATEWAY).is_err(), "something listens at {GATEWAY} already");
    let began = Instant::now();
    let demo = Demo(
        Command::new(env!("CARGO_BIN_EXE_usersig-gateway"))
            .arg("demo")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts"),
    );
    let mut stream = loop {
        match TcpStream::connect(GATEWAY) {
            Ok(stream) => break stream,
            Err(_) => sleep(Duration::from_millis(1)),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it does not listen");
    };
    stream.write_all(CALL.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let time = began.elapsed();
    assert!(answer.contains("\r\nx-tencent-error-code: 0\r\n"), "{answer}");
    drop(demo);
    time
}

/// Ends with the measurement.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

const GATEWAY: &str = "127.0.0.1:8080";
