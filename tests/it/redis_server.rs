//! A real redis-server, and a network before it that can swallow what is sent.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server on a free port, which forgets everything when it ends. Dropped, it is killed.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    program: PathBuf,
    /// A replica writes down what it is sent first.
    folder: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        Self::of("redis-server".into(), arguments).await
    }

    /// The same of another program than Debian's.
    pub(crate) async fn of(program: PathBuf, arguments: &[&str]) -> Self {
        let (port, arguments) = (free_port(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(&program, folder.path(), port, &arguments);
        let server = Self { child, port, program, folder, arguments };
        server.answers().await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Says this to it, and gives what it answers.
    pub(crate) async fn says<T: redis::FromRedisValue>(&self, command: &str) -> T {
        self.tries(command).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The same where it may refuse.
    pub(crate) async fn tries<T: redis::FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let client = redis::Client::open((Ipv4Addr::LOCALHOST.to_string(), self.port))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut words = command.split(' ');
        let mut said = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| _ = said.arg(word));
        said.query_async(&mut connection).await
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
        self.child = spawn(&self.program, self.folder.path(), self.port, &self.arguments);
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

fn spawn(program: &Path, folder: &Path, port: u16, arguments: &[String]) -> Child {
    let mut command = Command::new(program);
    // A Sentinel has a file of its own, which must stand first.
    let (file, arguments) = match arguments.split_first() {
        Some((file, rest)) if !file.starts_with('-') => (Some(file), rest),
        _ => (None, arguments),
    };
    command.current_dir(folder).args(file);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]).args(arguments);
    if file.is_none() {
        command.args(["--save", "", "--appendonly", "no"]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("cannot start {} (see tests/run.sh): {error}", program.display()))
}

/// A port of this machine that nobody has just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
