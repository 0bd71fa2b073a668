//! The real binary while it runs: what it writes, line by line, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use usersig_gateway::sandbox::Sandbox;

use crate::binary::command;
use crate::world::{KEY, sdkappid};

/// A process of the binary. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    stdout: Lines,
    log: Lines,
    /// Its configuration; removed last.
    folder: Option<TempDir>,
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) log: Vec<String>,
}

/// A gateway in a process of its own.
pub(crate) struct Serving {
    pub(crate) process: Process,
    /// As its log names it.
    pub(crate) gateway: String,
    /// As its log names it.
    pub(crate) admin: String,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, log) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, stdout: Lines::of(stdout), log: Lines::of(log), folder: None }
    }

    /// Waits for a line on standard output.
    pub(crate) fn printed(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.stdout.wait_for(is_it)
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.so_far()
    }

    /// Waits for a log line.
    pub(crate) fn logged(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.log.wait_for(is_it)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.so_far()
    }

    /// Waits for an event with this message, in a log of JSON lines.
    pub(crate) fn event(&self, message: &str) -> Value {
        let named = format!("\"message\":\"{message}\"");
        serde_json::from_str(&self.log.wait_for(|line| line.contains(&named))).unwrap()
    }

    /// Where it listens, as its log names it.
    pub(crate) fn address(&self, listener: &str) -> String {
        let named = format!("\"listener\":\"{listener}\"");
        let line = self.logged(|line| line.contains("\"listening\"") && line.contains(&named));
        let line: Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory (proc_pid_mem(5)), an area after the other: all that it can write to.
    pub(crate) fn memory(&self) -> impl Iterator<Item = Vec<u8>> {
        let folder = format!("/proc/{}", self.id());
        let maps = std::fs::read_to_string(format!("{folder}/maps")).unwrap();
        let memory = std::fs::File::open(format!("{folder}/mem")).unwrap();
        let writable = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"));
        let areas: Vec<_> = maps.lines().filter(writable).map(bounds).collect();
        areas.into_iter().map(move |(first, end)| {
            let mut area = vec![0; usize::try_from(end - first).unwrap()];
            // What went away meanwhile holds nothing.
            let read = memory.read_at(&mut area, first).unwrap_or(0);
            area.truncate(read);
            area
        })
    }

    /// Sends it a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn end(mut self) -> Ended {
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if let Some(status) = self.child.try_wait().unwrap() {
                let (stdout, log) = (self.stdout.until_the_end(), self.log.until_the_end());
                return Ended { status: status.code(), stdout, log };
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("it does not end; its log: {:#?}", self.log.so_far());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Ended {
    /// The access lines, in a log of JSON lines.
    pub(crate) fn access_lines(&self) -> Vec<Value> {
        let lines = self.log.iter().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["target"] == "access").collect()
    }

    /// How many access lines there are, in a log of whatever form.
    pub(crate) fn count_access_lines(&self) -> usize {
        self.log.iter().filter(|line| line.contains("access")).count()
    }
}

impl Serving {
    /// `serve` before this sandbox, on free ports, with more tables in its configuration.
    pub(crate) fn start(sandbox: &Sandbox, tables: &str) -> Self {
        Self::start_with(sandbox, tables, &[])
    }

    /// Where its configuration is.
    pub(crate) fn folder(&self) -> &Path {
        self.process.folder.as_ref().unwrap().path()
    }

    /// The same with environment variables.
    pub(crate) fn start_with(sandbox: &Sandbox, tables: &str, environment: &[(&str, &str)]) -> Self {
        let folder = configuration(sandbox, tables);
        let mut command = serve(folder.path());
        command.envs(environment.iter().copied());
        let mut process = Process::start(command);
        process.folder = Some(folder);
        let [gateway, admin] = ["gateway", "admin"].map(|listener| process.address(listener));
        Self { process, gateway, admin }
    }
}

/// Of an area of memory, as /proc tells them.
fn bounds(line: &str) -> (u64, u64) {
    let (first, rest) = line.split_once('-').unwrap();
    let [first, end] =
        [first, rest.split(' ').next().unwrap()].map(|at| u64::from_str_radix(at, 16).unwrap());
    (first, end)
}

/// The command that serves with the configuration in this folder.
pub(crate) fn serve(folder: &Path) -> Command {
    let file = folder.join("gateway.toml");
    let mut command = command(&["serve", "--config", file.to_str().unwrap()]);
    command.env_remove("RUST_LOG");
    command
}

/// A folder with a configuration, key and trust root for calling this sandbox.
pub(crate) fn configuration(sandbox: &Sandbox, tables: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("live.key", KEY);
    if let Some(pem) = sandbox.ca_pem() {
        write("ca.pem", pem);
    }
    let ca_file = sandbox.ca_pem().map_or("", |_| "ca_file = \"ca.pem\"");
    let text = format!(
        "[listen]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\n\
         [[app]]\nname = \"live\"\nsdkappid = {}\nidentifier = \"administrator\"\nsecret_key_file = \"live.key\"\n\
         endpoints = [\"{}\"]\n{ca_file}\n{tables}\n",
        sdkappid(),
        sandbox.url()
    );
    write("gateway.toml", &text);
    folder
}

/// Lines as they come, read by a thread, so that the process never waits for us.
struct Lines {
    read: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let read = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let shared = Arc::clone(&read);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                shared.0.lock().unwrap().push(line);
                shared.1.notify_all();
            }
        });
        Self { read, reader: Some(reader) }
    }

    fn wait_for(&self, is_it: impl Fn(&str) -> bool) -> String {
        let (lines, came) = &*self.read;
        let missing = |lines: &mut Vec<String>| !lines.iter().any(|line| is_it(line));
        let (lines, timeout) = came.wait_timeout_while(lines.lock().unwrap(), PATIENCE, missing).unwrap();
        let found = lines.iter().find(|line| is_it(line));
        found.cloned().unwrap_or_else(|| panic!("no such line ({timeout:?}): {lines:#?}"))
    }

    fn so_far(&self) -> Vec<String> {
        self.read.0.lock().unwrap().clone()
    }

    fn until_the_end(&mut self) -> Vec<String> {
        self.reader.take().unwrap().join().unwrap();
        self.so_far()
    }
}

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
