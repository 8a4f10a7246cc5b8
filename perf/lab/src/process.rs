//! Programs of a lab: started in a namespace with their output in a log file, watched, ended with all that they started.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// Whose time a program takes on the cores that everything in a lab shares. In production a router has cores of its own, and pods have
/// theirs; here noise takes what the others leave, because what is tried is whether its packets hurt, not whether its computing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Dataplanes and wires.
    Router,
    /// Everything else.
    Plain,
    /// Floods.
    Noise,
}

impl Share {
    /// The command that gives a program its share.
    fn launcher(self) -> &'static [&'static str] {
        match self {
            Self::Router => &["nice", "-n", "-10"],
            Self::Plain => &[],
            Self::Noise => &["chrt", "--idle", "0"],
        }
    }
}

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name in messages and of the log file.
    pub name: String,
    /// Network namespace.
    pub namespace: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whose time it takes.
    pub share: Share,
    /// It lives on when the lab command ends.
    pub survives: bool,
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `spec`; standard error, and standard output unless `piped`, go to `<logs>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(spec: Spec, logs: &Path, piped: bool) -> anyhow::Result<Self> {
        let log = logs.join(format!("{}.log", spec.name));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &spec.namespace]);
        command.args(spec.share.launcher());
        if !spec.survives {
            // The kernel ends it when this process dies, however it dies. All of ip, nice and setpriv become the program: one process id.
            command.args(["setpriv", "--pdeathsig", "KILL"]);
        }
        let child = command
            .args(&spec.command)
            .stdin(Stdio::null())
            .stdout(if piped {
                Stdio::piped()
            } else {
                Stdio::from(file.try_clone()?)
            })
            .stderr(Stdio::from(file))
            .process_group_own()
            .spawn()
            .with_context(|| format!("cannot start {}", spec.name))?;
        Ok(Self {
            spec,
            child,
            log,
            ended: None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How it was started.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    pub fn alive(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }

    /// `kill -9`, and waits until it is gone. Returns when the signal was sent, ns of the monotonic clock.
    pub fn kill_hard(&mut self) -> u64 {
        let at = wait::monotonic_ns();
        self.signal(Signal::SIGKILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
        at
    }

    /// Asks it to end, and kills it after `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + grace;
        while self.alive() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.alive() {
            self.kill_hard();
        }
    }

    /// An error if it ended, with the last lines of its log.
    ///
    /// # Errors
    /// When it ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if self.alive() {
            return Ok(());
        }
        bail!(
            "{} ended ({}); last lines of {}:\n{}",
            self.spec.name,
            self.ended.map_or_else(|| "unknown".into(), describe),
            self.log.display(),
            tail(&self.log, 8)
        )
    }

    /// Waits until it ends by itself and returns what it wrote to its standard output (if started with `piped`).
    ///
    /// # Errors
    /// When interrupted, after `limit`, or when its exit status is not zero.
    pub fn finish(&mut self, limit: Duration) -> anyhow::Result<String> {
        let output = self.collect(limit)?;
        match self.ended {
            Some(status) if status.success() => Ok(output),
            Some(status) => bail!(
                "{} failed ({}): {}",
                self.name(),
                describe(status),
                tail(&self.log, 4)
            ),
            None => bail!("{} did not end", self.name()),
        }
    }

    /// As [`Process::finish`], with whatever exit status.
    ///
    /// # Errors
    /// When interrupted, or after `limit`.
    pub fn collect(&mut self, limit: Duration) -> anyhow::Result<String> {
        // Read on a thread of its own: a full pipe would keep the program from ending.
        let reader = self.child.stdout.take().map(|mut out| {
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = out.read_to_string(&mut text);
                text
            })
        });
        let what = format!("{} to end", self.name());
        if let Err(error) = wait::until(&what, limit, || Ok((!self.alive()).then_some(()))) {
            self.kill_hard();
            return Err(error.context(tail(&self.log, 4)));
        }
        Ok(reader
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default())
    }

    /// The exit status, once it ended.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Leaves the program running when this value goes.
    pub fn leave(mut self) {
        self.spec.survives = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.spec.survives {
            self.kill_hard();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".into(),
    }
}

/// Puts a child in a process group of its own, so that Ctrl-C reaches the lab alone, which then ends its children in order.
trait OwnGroup {
    fn process_group_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_own(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt;
        self.process_group(0)
    }
}

/// The last `count` lines of a text file; what is there of it.
#[must_use]
pub fn tail(path: &Path, count: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16_384)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
