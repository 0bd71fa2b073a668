//! The load of `compare.py`: calls over kept-alive HTTP/1.1 connections from one thread, each timed.
//!
//! - `load closed TARGET PATH CONNECTIONS SECONDS`: each connection makes its next call when the last was answered.
//! - `load open TARGET PATH CONNECTIONS SECONDS RATE`: so many calls a second, evenly, come what may. A call that finds
//!   no free connection waits for one, and is timed from when it was due, as a caller would feel it.
//! - `load turns TARGET PATH CONNECTIONS SECONDS RATE`: for each line of standard input the one or the other (`RATE` 0:
//!   closed), without `begin` and `end`; each ends when its last answer is there. All connections stay.
//! - `load idle TARGET PATH CONNECTIONS 0`: each connection makes one call and stays, until standard input ends.
//!
//! `TARGET` is an address; `#` in `PATH` becomes 0, 1, 2 … up to `SPREAD` (environment), call by call. Prints `begin`
//! when the first half second is over, after which calls count; `end` when the time is over and connections are still
//! open; then what came of it as one line of JSON. Any answer but a 200 ends it: only whole work is compared.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::Duration;

use rustix::event::epoll;
use tokio::time::Instant;

const BODY: &str = r#"{"RoomId":"100231","PageSize":20}"#;
const WARM: Duration = Duration::from_millis(500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, target, path, connections, seconds, rate @ ..] = &*arguments else {
        return println!("closed|open|turns|idle TARGET PATH CONNECTIONS SECONDS [RATE]");
    };
    let number = |text: &String| text.parse::<f64>().expect("a number");
    // Else a timer is up to 50 µs late, which every call would be charged.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).expect("Linux grants it");
    let mut load = Load::open(target.parse().expect("an address"), path, number(connections) as usize);
    let span = Duration::from_secs_f64(number(seconds));
    match mode.as_str() {
        "closed" => load.once(span, 0.0),
        "open" => load.once(span, number(&rate[0])),
        "turns" => load.in_turns(span, number(&rate[0])),
        "idle" => load.idle(),
        other => panic!("no such mode: {other}"),
    }
}

struct Load {
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    requests: Requests,
    calls: u64,
    /// Nanoseconds.
    times: Vec<u64>,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    due: Instant,
}

/// The requests in rotation, each built once.
struct Requests {
    all: Vec<Vec<u8>>,
    next: usize,
}

impl Load {
    fn open(target: SocketAddr, path: &str, connections: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
        let connect = |index| {
            let stream = TcpStream::connect(target).expect("it listens");
            stream.set_nodelay(true).expect("a fresh connection");
            stream.set_nonblocking(true).expect("a fresh connection");
            let data = epoll::EventData::new_u64(index);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).expect("it can be watched");
            Connection { stream, answer: Vec::with_capacity(4096), due: Instant::now() }
        };
        let connections = (0..connections as u64).map(connect).collect();
        Self { epoll, connections, requests: Requests::new(path), calls: 0, times: Vec::new() }
    }

    /// Makes calls for a while, and counts those after the first half second.
    fn once(&mut self, span: Duration, rate: f64) {
        let mut phases = Phases::new(Instant::now(), span);
        self.run(rate, |load| phases.over(load));
        self.report(span);
    }

    /// The same for each line of standard input, every call counted and awaited.
    fn in_turns(&mut self, span: Duration, rate: f64) {
        for _ in std::io::stdin().lines() {
            (self.calls, self.times) = (0, Vec::new());
            let end = Instant::now() + span;
            let mut left = self.connections.len() - self.run(rate, |_| Instant::now() >= end);
            while left > 0 {
                left -= self.answered(None).len();
            }
            self.report(span);
        }
    }

    /// Makes so many calls a second until it is `over`; 0: as many as there are connections for. Gives how many of those
    /// are free then.
    fn run(&mut self, rate: f64, mut over: impl FnMut(&mut Self) -> bool) -> usize {
        let began = Instant::now();
        let due = |number: u64| {
            if rate > 0.0 { began + Duration::from_secs_f64(number as f64 / rate) } else { Instant::now() }
        };
        let mut number = 0;
        // The one that rested longest is next, so that all of them are in use.
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        while !over(self) {
            while due(number) <= Instant::now() {
                let Some(index) = free.pop_front() else { break };
                self.call(index, due(number));
                number += 1;
            }
            let pause = due(number).saturating_duration_since(Instant::now());
            let pause = if free.is_empty() { Duration::from_millis(100) } else { pause };
            free.extend(self.answered(Some(pause)));
        }
        free.len()
    }

    fn idle(&mut self) {
        for index in 0..self.connections.len() {
            self.call(index, Instant::now());
            while self.answered(None).is_empty() {}
        }
        println!("begin");
        _ = std::io::stdin().read_to_end(&mut Vec::new());
    }

    fn call(&mut self, index: usize, due: Instant) {
        let connection = &mut self.connections[index];
        connection.due = due;
        connection.stream.write_all(self.requests.next()).expect("a small request fits the socket's buffer");
    }

    /// The connections whose answer is complete, after waiting for one.
    fn answered(&mut self, patience: Option<Duration>) -> Vec<usize> {
        let mut events = Vec::with_capacity(256);
        let patience = patience.map(|patience| rustix::event::Timespec {
            tv_sec: patience.as_secs().try_into().expect("a short time"),
            tv_nsec: patience.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("cannot wait: {error}"),
        }
        let indices = events.iter().map(|event| event.data.u64() as usize);
        let answered: Vec<usize> = indices.filter(|&index| self.connections[index].read()).collect();
        for &index in &answered {
            self.calls += 1;
            self.times.push(self.connections[index].due.elapsed().as_nanos() as u64);
        }
        answered
    }

    fn report(&mut self, span: Duration) {
        self.times.sort_unstable();
        let at = |share: f64| {
            let index = ((self.times.len() - 1) as f64 * share).round() as usize;
            self.times[index] as f64 / 1e3
        };
        println!(
            r#"{{"calls":{},"seconds":{},"p50_us":{},"p90_us":{},"p99_us":{},"p999_us":{}}}"#,
            self.calls,
            span.as_secs_f64(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999)
        );
    }
}

impl Connection {
    /// Takes in what is there, and says whether the answer is complete.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the connection was closed"),
            Ok(bytes) => self.answer.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("cannot read: {error}"),
        }
        let Some(head) = self.answer.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
        let text = std::str::from_utf8(&self.answer[..head]).expect("a head is text");
        assert!(text.starts_with("HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&self.answer));
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let complete = self.answer.len() >= head + 4 + length.expect("an answer has a length");
        if complete {
            self.answer.clear();
        }
        complete
    }
}

impl Requests {
    fn new(path: &str) -> Self {
        let spread = std::env::var("SPREAD").map_or(1, |text| text.parse().expect("SPREAD is a number"));
        let request = |number: usize| {
            let (path, length) = (path.replace('#', &number.to_string()), BODY.len());
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: gateway.internal:8080\r\nuser-agent: load/1\r\n");
            let type_and_length = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
            format!("{head}accept: application/json\r\n{type_and_length}\r\n{BODY}").into_bytes()
        };
        Self { all: (0..spread).map(request).collect(), next: 0 }
    }

    fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.all.len();
        &self.all[self.next]
    }
}

/// Says when counting begins and ends.
struct Phases {
    begin: Instant,
    end: Instant,
    counting: bool,
}

impl Phases {
    fn new(began: Instant, span: Duration) -> Self {
        Self { begin: began + WARM, end: began + WARM + span, counting: false }
    }

    fn over(&mut self, load: &mut Load) -> bool {
        let now = Instant::now();
        if !self.counting && now >= self.begin {
            self.counting = true;
            load.calls = 0;
            load.times.clear();
            println!("begin");
        }
        if now >= self.end {
            println!("end");
        }
        now >= self.end
    }
}
