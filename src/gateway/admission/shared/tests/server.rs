//! A real redis-server for the length of a test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;

/// Debian's Redis, the oldest that is supported, and Valkey: `tests/run.sh` installs them.
pub(super) fn programs() -> Vec<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("USERSIG_GATEWAY_TEST_PYTHON")
        .map_or_else(|| project.join("target/test-venv/bin/python"), PathBuf::from);
    let script = project.join("tests/python/redis_servers.py");
    let output = Command::new(python).arg(script).output().expect("tests/run.sh sets up a Python");
    let told = String::from_utf8_lossy(&output.stdout);
    let programs: Vec<_> = told.lines().map(PathBuf::from).collect();
    assert_eq!(programs.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
    [vec!["redis-server".into()], programs].concat()
}

/// A server on a free port that keeps nothing on disk. Dropped, it is killed.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            // Nothing that another server left is read.
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {} (see tests/run.sh): {error}", program.display()));
        let server = Self { child, port, _folder: folder };
        let mut last = None;
        for _ in 0..600 {
            match server.try_connect().await {
                Ok(_) => return server,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} does not answer: {last:?}", program.display());
    }

    pub(super) async fn connect(&self) -> MultiplexedConnection {
        self.try_connect().await.unwrap()
    }

    /// Sends it a signal, such as `STOP`.
    pub(super) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// How many scripts it did.
    pub(super) async fn scripts_done(&self) -> u32 {
        let mut connection = self.connect().await;
        let mut info = redis::cmd("INFO");
        let stats: String = info.arg("commandstats").query_async(&mut connection).await.unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }

    async fn try_connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open((Ipv4Addr::LOCALHOST.to_string(), self.port))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
