//! A call from one end to the other: a gateway of one worker in a process whose instructions are counted, a caller and
//! an upstream outside it that do one call at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use usersig_gateway::app::App as Gateway;
use usersig_gateway::clock::{SystemClock, WallClock};
use usersig_gateway::config::settings::{Boot, DrainSettings, Settings};
use usersig_gateway::gateway::{self, RecordSettings};
use usersig_gateway::net::listener::ListenAddress;

use crate::paths::{ANSWER, apps};
use crate::{collected, under_callgrind};

/// Instructions for one call.
pub(crate) fn instructions() -> u64 {
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = upstream.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            std::thread::spawn(|| answer_all(stream.expect("a connection")));
        }
    });
    let count = |calls: usize, at_least: Duration| {
        let mut child =
            under_callgrind(&["--serve", &format!("http://{address}")]).spawn().expect("valgrind runs");
        let mut told = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut told).expect("it tells its address");
        let began = Instant::now();
        call(told.trim().parse().expect("an address"), calls);
        std::thread::sleep(at_least.saturating_sub(began.elapsed()));
        let lasted = began.elapsed();
        drop(child.stdin.take());
        (collected(child), lasted)
    };
    // Both last equally long: what the gateway does from time to time, calls or not, cancels out on a slow machine too.
    let (more, lasted) = count(WARM + TIMES, Duration::ZERO);
    let (fewer, _) = count(WARM, lasted);
    (more - fewer) / TIMES as u64
}

/// What Valgrind runs: serves until standard input ends.
pub(crate) fn serve(upstream: &str) -> ExitCode {
    let mut live = gateway::Settings::of(apps(upstream));
    live.record = RecordSettings { access_share: 0.0, audit: false };
    // So many that the machine's pace makes no difference.
    live.ceiling.per_second = NonZeroU32::MAX;
    live.ceiling.burst = NonZeroU32::new(u32::MAX);
    let free = || ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    let boot = Boot { gateway: free(), admin: free(), workers: NonZeroUsize::new(1), ..Boot::default() };
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let gateway = Gateway::start(Settings { boot, live }, &clock).expect("free ports");
    println!("{}", gateway.gateway_address());
    _ = std::io::stdin().read_to_end(&mut Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let at_once = DrainSettings { accept_for: Duration::ZERO, grace: Duration::from_secs(5) };
    runtime.block_on(gateway.drain(at_once));
    ExitCode::SUCCESS
}

/// One call after another on one connection.
fn call(gateway: SocketAddr, calls: usize) {
    let mut stream = TcpStream::connect(gateway).expect("the gateway listens");
    stream.set_nodelay(true).expect("a socket takes it");
    let request = "POST /v4/brand_new/thing?nettype=5 HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
         content-length: 2\r\n\r\n{}";
    for _ in 0..calls {
        stream.write_all(request.as_bytes()).expect("it reads");
        read_until(&mut stream, ANSWER);
    }
}

fn answer_all(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket takes it");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    while read_until(&mut stream, "\r\n\r\n{}") {
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Whether the other end sent something that ends so.
fn read_until(stream: &mut TcpStream, end: &str) -> bool {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while !read.ends_with(end.as_bytes()) {
        match stream.read(&mut piece) {
            Ok(length @ 1..) => read.extend_from_slice(&piece[..length]),
            Ok(0) | Err(_) => return false,
        }
    }
    true
}

const WARM: usize = 100;
const TIMES: usize = 400;
