//! An HTTP server on loopback that gives prepared answers and remembers what it was asked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A server that answers one request a connection, with each of its answers in turn, and then closes its listener.
#[derive(Debug)]
pub(crate) struct CannedServer {
    /// As the commands' `--gateway` and `--admin` take it.
    pub(crate) url: String,
    requests: Receiver<Asked>,
}

/// One request as it came.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Request line and headers, names in the case in which they came.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// An answer, made from what was asked: the whole of it, head and body.
pub(crate) type AnswerTo = Box<dyn FnOnce(&Asked) -> Vec<u8> + Send>;

fn answer_always(answer: &'static str) -> AnswerTo {
    Box::new(move |_| answer.into())
}

impl Asked {
    /// The UserSig in the URL.
    pub(crate) fn usersig(&self) -> &str {
        let (_, rest) = self.head.split_once("&usersig=").expect("calls carry a UserSig");
        rest.split('&').next().expect("there is always a first piece")
    }
}

impl CannedServer {
    /// On a free TCP port.
    pub(crate) fn tcp(answers: &[&'static str]) -> Self {
        Self::answering(answers.iter().map(|&answer| answer_always(answer)).collect())
    }

    /// On a free TCP port, with answers that depend on what was asked.
    pub(crate) fn answering(answers: Vec<AnswerTo>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        Self::start(url, answers, move || Ok(listener.accept()?.0))
    }

    /// On a Unix socket at `path`.
    pub(crate) fn unix(path: &Path, answers: &[&'static str]) -> Self {
        let listener = UnixListener::bind(path).expect("the path is free and short");
        let answers = answers.iter().map(|&answer| answer_always(answer)).collect();
        Self::start(format!("unix:{}", path.display()), answers, move || Ok(listener.accept()?.0))
    }

    /// The requests in the order in which they came, once all answers are given.
    pub(crate) fn asked(self) -> Vec<Asked> {
        self.requests.iter().collect()
    }

    fn start<S: Read + Write>(
        url: String,
        answers: Vec<AnswerTo>,
        accept: impl Fn() -> std::io::Result<S> + Send + 'static,
    ) -> Self {
        let (tell, requests) = channel();
        thread::spawn(move || {
            for answer in answers {
                let mut stream = accept().expect("the listener stands");
                let asked = read_request(&mut stream);
                // A client that has hung up is the test's affair.
                _ = stream.write_all(&answer(&asked));
                _ = tell.send(asked);
            }
        });
        Self { url, requests }
    }
}

/// An answer with this status line's end and body, which closes the connection.
macro_rules! answer {
    ($status:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\n\r\n", $body)
    };
    ($status:literal, $headers:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\n", $headers, "\r\n\r\n", $body)
    };
}
pub(crate) use answer;

fn read_request(stream: &mut impl Read) -> Asked {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read_byte(stream));
    }
    let head = String::from_utf8(head).expect("a request's head is text");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().expect("a length is a number"))
    });
    let body = (0..length.unwrap_or(0)).map(|_| read_byte(stream)).collect();
    Asked { head, body: String::from_utf8(body).expect("these tests send text") }
}

fn read_byte(stream: &mut impl Read) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("the client sends whole requests");
    byte[0]
}
