//! A real redis-server, and a network before it that can swallow what is sent.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server on a free port, which keeps nothing on disk. Dropped, it is killed.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { child: spawn(port), port };
        server.answers().await;
        server
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// It is gone from one moment to the next.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After it was killed: a new one takes its place, which knows nothing.
    pub(crate) async fn restart_empty(&mut self) {
        self.child = spawn(self.port);
        self.answers().await;
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    async fn answers(&self) {
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if self.ping().await.is_ok_and(|answer| answer == *b"+PONG\r\n") {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("redis-server does not answer");
    }

    async fn ping(&self) -> std::io::Result<[u8; 7]> {
        let mut stream = TcpStream::connect(self.address()).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start redis-server (Debian package redis-server): {error}"))
}

/// A way to a server on which everything can get lost, without a word to either side.
pub(crate) struct Network {
    address: SocketAddr,
    swallows: Arc<AtomicBool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Network {
    pub(crate) async fn to(server: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, swallows) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let lost = Arc::clone(&swallows);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, lost) = (server.clone(), Arc::clone(&lost));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    for stream in [&client, &server] {
                        stream.set_nodelay(true).unwrap();
                    }
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    tokio::join!(
                        carry(&mut from_client, &mut to_server, &lost),
                        carry(&mut from_server, &mut to_client, &lost)
                    );
                });
            }
        });
        Self { address, swallows, accepting }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on, everything gets lost, or nothing any more but what is on connections that lost something.
    pub(crate) fn swallow(&self, everything: bool) {
        self.swallows.store(everything, Ordering::SeqCst);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    swallows: &AtomicBool,
) {
    let (mut bytes, mut is_torn) = ([0; 16 * 1024], false);
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        is_torn |= swallows.load(Ordering::SeqCst);
        if !is_torn && to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    if !is_torn {
        // The other side may be gone already.
        _ = to.shutdown().await;
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
