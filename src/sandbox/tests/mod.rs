//! The sandbox over real sockets, with a client and a signer of the tests' own.

mod checks;
mod connections;
mod desk;
mod faults;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::clock::ManualClock;
use crate::model::app::SdkAppId;
use crate::model::secret::SecretKey;

const NOW: u64 = 1_700_000_000;
const APP: u32 = 1_400_000_001;
const KEY: &str = "FAKE0000000000000000000000000000000000000000000000000000000000ff";
const ROOM_INFO: &str = "/v4/live_engine_http_srv/get_room_info";
const CREATE_ROOM: &str = "/v4/live_engine_http_srv/create_room";
const GET_CALLBACK: &str = "/v4/live_config/get_callback";

fn app() -> SdkAppId {
    SdkAppId::try_from(u64::from(APP)).unwrap()
}

fn key(text: &str) -> SecretKey {
    SecretKey::new(text).unwrap()
}

fn settings() -> Settings {
    Settings { apps: vec![SandboxApp::new(app(), vec![key(KEY)])], ..Settings::default() }
}

async fn start(settings: Settings) -> Sandbox {
    Sandbox::start(settings, Arc::new(ManualClock::at_unix(NOW))).await.unwrap()
}

/// What a UserSig is made of.
#[derive(Clone)]
struct Sign {
    version: &'static str,
    sdkappid: u32,
    identifier: &'static str,
    time: u64,
    expire: u64,
    key: &'static str,
}

const GOOD: Sign =
    Sign { version: "2.0", sdkappid: APP, identifier: "administrator", time: NOW, expire: 60, key: KEY };

impl Sign {
    fn sign(&self) -> String {
        let Self { version, sdkappid, identifier, time, expire, key } = self;
        let text = format!(
            "TLS.identifier:{identifier}\nTLS.sdkappid:{sdkappid}\nTLS.time:{time}\nTLS.expire:{expire}\n"
        );
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let base64 = &base64::engine::general_purpose::STANDARD;
        let json = json!({
            "TLS.ver": version, "TLS.identifier": identifier, "TLS.sdkappid": sdkappid, "TLS.time": time,
            "TLS.expire": expire, "TLS.sig": base64.encode(mac.finalize().into_bytes()),
        });
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        io::Write::write_all(&mut zlib, json.to_string().as_bytes()).unwrap();
        base64.encode(zlib.finish().unwrap()).replace('+', "*").replace('/', "-").replace('=', "_")
    }
}

/// A query that passes every check.
fn query() -> String {
    query_with(&GOOD.sign())
}

fn query_with(usersig: &str) -> String {
    format!("sdkappid={APP}&identifier=administrator&usersig={usersig}&random=4294967295&contenttype=json")
}

/// An HTTP/1.1 connection that speaks as plainly as can be.
struct Client<S = TcpStream> {
    stream: S,
    ahead: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    head: String,
    body: Vec<u8>,
}

impl Client {
    async fn to(sandbox: &Sandbox) -> Self {
        Self::connect(sandbox.address()).await.unwrap()
    }

    async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect(address).await?))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn over(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    async fn send(&mut self, method: &str, target: &str, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: sandbox.test\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body].concat()).await
    }

    /// Reads a head, and what there is of the body it announces.
    async fn receive(&mut self) -> io::Result<Reply> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(self.ahead.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let length = Reply { head: head.clone(), body: Vec::new() }.header("content-length").unwrap();
        let length = length.parse().unwrap();
        while self.ahead.len() < length && self.more().await? > 0 {}
        let body = self.ahead.drain(..length.min(self.ahead.len())).collect();
        Ok(Reply { head, body })
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.ahead).await
    }

    async fn exchange(&mut self, method: &str, target: &str, body: &str) -> Reply {
        self.send(method, target, body.as_bytes()).await.unwrap();
        self.receive().await.unwrap()
    }

    /// A good call of one API.
    async fn call(&mut self, path: &str, body: Value) -> Reply {
        self.exchange("POST", &format!("{path}?{}", query()), &body.to_string()).await
    }
}

impl Reply {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> i64 {
        assert_eq!(self.status(), "200");
        let json = self.json();
        json.get("ErrorCode").or(json.get("errorCode")).unwrap().as_i64().unwrap()
    }
}
