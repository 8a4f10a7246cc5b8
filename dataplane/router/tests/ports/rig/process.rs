//! A running `dmsc-dataplane`: started in a namespace, waited for, ended; its log is printed when a test fails.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Agent, Netns, PATIENCE};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dmsc-dataplane");

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty one.
    pub fn new() -> Scratch {
        let number = NEXT.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("dmsct-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("scratch directory");
        Scratch(path)
    }

    /// A path in it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// A dataplane process.
pub struct Dataplane {
    child: Child,
    log: Arc<Log>,
    /// Its EAL file prefix.
    pub prefix: String,
    /// Its agent's socket.
    pub socket: PathBuf,
    /// Its agent.
    pub agent: Agent,
    netns: String,
    config: PathBuf,
    scratch: Arc<Scratch>,
}

/// A whole configuration: `rest` is what follows `[node]`, `[eal]` and `[agent]`.
pub fn configuration(node: u32, role: &str, socket: &Path, prefix: &str, rest: &str) -> String {
    format!(
        "[node]\nid = {node}\nname = \"n{node}\"\nrole = \"{role}\"\n[eal]\nmemory_mb = 64\nhuge = \"no\"\nfile_prefix = \"{prefix}\"\n[agent]\nsocket = \"{}\"\n{rest}\n",
        socket.display()
    )
}

impl Dataplane {
    /// Starts node `node` in `netns` and waits until it serves; `ports` are the `[[port]]` and other sections.
    pub fn start(netns: &Netns, node: u32, role: &str, ports: &str) -> Dataplane {
        let scratch = Arc::new(Scratch::new());
        let (config, socket) = (scratch.path("dataplane.toml"), scratch.path("agent.sock"));
        let prefix = format!(
            "dmsct-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        std::fs::write(&config, configuration(node, role, &socket, &prefix, ports)).expect("write");
        Dataplane::run(netns.name(), scratch, config, socket, prefix, &[])
    }

    /// Another process of the same configuration, in the place of this one.
    pub fn successor(&self) -> Dataplane {
        let (netns, config) = (&self.netns, self.config.clone());
        let (scratch, socket) = (self.scratch.clone(), self.socket.clone());
        let more = ["--takeover"];
        let mut next = Dataplane::run(netns, scratch, config, socket, String::new(), &more);
        next.prefix = format!("{}-{}", self.prefix, next.pid());
        next
    }

    /// Another process of the same configuration, after the end of this one: what a service manager does.
    pub fn again(&self) -> Dataplane {
        let (netns, config) = (&self.netns, self.config.clone());
        let (scratch, socket) = (self.scratch.clone(), self.socket.clone());
        Dataplane::run(netns, scratch, config, socket, self.prefix.clone(), &[])
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Tries to take over with another configuration, which must be refused; what was said.
    pub fn refuses(&self, configuration: &str) -> String {
        let path = self.scratch.path("refused.toml");
        std::fs::write(&path, configuration).expect("write");
        let output = Command::new("timeout")
            .args(["10", "ip", "netns", "exec", &self.netns, PROGRAM])
            .args(["--takeover", "--config"])
            .arg(&path)
            .env("DMSC_LOG", "off")
            .output()
            .expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    fn run(
        netns: &str,
        scratch: Arc<Scratch>,
        config: PathBuf,
        socket: PathBuf,
        prefix: String,
        more: &[&str],
    ) -> Dataplane {
        let (mut child, mut log) = spawn(netns, &config, more);
        let mut is_up = log.wait("\"ready\"");
        if !is_up && log.text().contains("start it again, under another id") {
            // Ids of processes and interfaces that make one number, which no process can choose; supervisors start it again, too.
            let _ = child.wait();
            (child, log) = spawn(netns, &config, more);
            is_up = log.wait("\"ready\"");
        }
        if !is_up {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the dataplane did not come up:\n{}", log.text());
        }
        let agent = Agent::connect(&socket);
        Dataplane {
            child,
            log,
            prefix,
            socket,
            agent,
            netns: netns.into(),
            config,
            scratch,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("kill");
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < end, "the dataplane does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.prefix, self.log.text());
            for port in self.agent.try_counters() {
                eprintln!("{port:?}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It was not asked to, so it did not clean up.
        let _ = std::fs::remove_dir_all(Path::new("/var/run/dpdk").join(&self.prefix));
    }
}

impl Log {
    fn wait(&self, text: &str) -> bool {
        let lines = self.lines.lock().expect("log");
        let found = |(lines, _): &(Vec<String>, bool)| lines.iter().any(|l| l.contains(text));
        let (lines, _) = self
            .more
            .wait_timeout_while(lines, PATIENCE, |state| !found(state) && !state.1)
            .expect("log");
        found(&lines)
    }

    fn text(&self) -> String {
        self.lines.lock().expect("log").0.join("\n")
    }
}

/// Starts the program, whose log is read from then on.
fn spawn(netns: &str, config: &Path, more: &[&str]) -> (Child, Arc<Log>) {
    // However this process ends, the dataplane ends with it.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "ip", "netns", "exec", netns, PROGRAM])
        .args(more)
        .args(["--log-json", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv (util-linux)");
    let log = Arc::new(Log::default());
    let stderr = child.stderr.take().expect("piped");
    std::thread::spawn({
        let log = log.clone();
        move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lines.lock().expect("log").0.push(line);
                log.more.notify_all();
            }
            log.lines.lock().expect("log").1 = true;
            log.more.notify_all();
        }
    });
    (child, log)
}
