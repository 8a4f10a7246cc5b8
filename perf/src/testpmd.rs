//! dpdk-testpmd as a process: started, told what to do, asked what it counted, ended. Nothing of it stays behind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest start and longest answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says when it waits for a command.
const PROMPT: &str = "testpmd> ";
/// Where DPDK has a folder for every process of root's.
const RUNTIME: &str = "/var/run/dpdk";
/// What the names of our processes' folders begin with; the process id of the one that made it follows.
const OURS: [&str; 2] = ["dmsc-testpmd-", "dmsc-perf-"];

/// The running program; killed when this value goes.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    orders: ChildStdin,
    output: Receiver<String>,
    /// All lines so far, for an error.
    seen: Vec<String>,
    is_stopped: bool,
    runtime: PathBuf,
}

impl Testpmd {
    /// Starts it, interactive, with further arguments for EAL and its own. It answers orders when this returns.
    ///
    /// # Errors
    /// When it ends or says nothing, with what it said.
    pub fn start(eal: &[String], own: &[String]) -> anyhow::Result<Testpmd> {
        sweep(Path::new(RUNTIME));
        let prefix = prefix();
        let mut child = Command::new("setpriv")
            // Into a pipe it would write whole pages only.
            .args(["--pdeathsig", "KILL", "stdbuf", "-oL", "dpdk-testpmd"])
            .args(["--no-pci", "--no-telemetry"])
            .arg(format!("--file-prefix={prefix}"))
            .args(eal)
            .args(["--", "-i"])
            .args(own)
            // A signal from the terminal is for this process alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run setpriv: install util-linux")?;
        let orders = child.stdin.take().context("standard input is a pipe")?;
        let (sender, output) = channel();
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let stderr = child.stderr.take().context("standard error is a pipe")?;
        let errors = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line); // nobody reads any more: it is being ended
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = errors.send(line); // as above
            }
        });
        let mut testpmd = Testpmd {
            child,
            orders,
            output,
            seen: Vec::new(),
            is_stopped: false,
            runtime: Path::new(RUNTIME).join(prefix),
        };
        // It has no newline behind its prompt: an answer to a command shows that it is ready.
        testpmd.ask("show config fwd", "forwarding")?;
        Ok(testpmd)
    }

    /// Tells it to do something; wakes it if it was stopped.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tell(&mut self, order: &str) -> anyhow::Result<()> {
        if self.is_stopped {
            kill(self.pid(), Signal::SIGCONT)?;
            self.is_stopped = false;
        }
        writeln!(self.orders, "{order}").with_context(|| self.last_words(order))
    }

    /// Tells it to do something, and waits for a line of its answer that has `wanted` in it.
    ///
    /// # Errors
    /// When it does not answer, with its last lines.
    pub fn ask(&mut self, order: &str, wanted: &str) -> anyhow::Result<String> {
        self.tell(order)?;
        self.hear(order, wanted)
    }

    /// Waits for one more line that has `wanted` in it.
    ///
    /// # Errors
    /// When it does not come, with the last lines; `order` is what was asked.
    pub fn hear(&mut self, order: &str, wanted: &str) -> anyhow::Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(line) => {
                    let line = line.trim_start_matches(PROMPT).to_owned();
                    self.seen.push(line.clone());
                    if line.contains(wanted) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!(self.last_words(order))
                }
            }
        }
    }

    /// Waits for what it says of one more port when it was told to show statistics: packets per second received since it last
    /// did, by its own count and clock.
    ///
    /// # Errors
    /// When that does not come, or cannot be read.
    pub fn hear_rate(&mut self) -> anyhow::Result<u64> {
        const WHAT: &str = "Rx-pps:";
        let line = self.hear("show port stats", WHAT)?;
        line.split(WHAT)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("testpmd's rate cannot be read from {line:?}"))
    }

    fn last_words(&self, order: &str) -> String {
        let last = self.seen.len().saturating_sub(12);
        format!(
            "dpdk-testpmd did not answer {order:?}: is it installed (`apt-get install dpdk-dev`), and are enough huge pages free \
             (`sysctl vm.nr_hugepages`)? Its last lines:\n{}",
            self.seen[last..].join("\n")
        )
    }

    /// Stops the whole process, so that it takes no time from others; the next order wakes it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        // What it was told before is done when it answers.
        self.ask("show config fwd", "forwarding")?;
        kill(self.pid(), Signal::SIGSTOP)?;
        self.is_stopped = true;
        Ok(())
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let _ = self.tell("quit"); // if it ended before, waiting tells
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("dpdk-testpmd did not end on `quit`");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.runtime); // it may be gone, or be elsewhere without root
    }
}

/// Its version, or why it is not there.
///
/// # Errors
/// When it cannot be run.
pub fn version() -> anyhow::Result<String> {
    // It prints the version while it starts; without ports it then ends.
    let prefix = prefix();
    let output = Command::new("dpdk-testpmd")
        .args(["-v", "--no-huge", "--no-pci", "--no-shconf"])
        .args(["--no-telemetry", "-m", "16"])
        .arg(format!("--file-prefix={prefix}"))
        .args(["--", "--help"])
        .stdin(Stdio::null())
        .output()
        .context("there is no dpdk-testpmd: apt-get install dpdk-dev")?;
    let _ = std::fs::remove_dir_all(Path::new(RUNTIME).join(prefix)); // as in `Drop`
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let version = text.lines().find_map(|line| {
        let quoted = line.split_once("RTE Version: '")?.1;
        quoted.split('\'').next()
    });
    Ok(format!(
        "testpmd of {}",
        version.unwrap_or("an unknown DPDK")
    ))
}

/// The id of this process makes the folder findable when both were killed; the number tells its testpmds apart.
fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    format!("{}{}-{number}", OURS[0], std::process::id())
}

/// Removes what processes of this program left in `runtime` when they were killed: what is named after a process that is no more.
pub fn sweep(runtime: &Path) {
    for entry in std::fs::read_dir(runtime).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let process = OURS.iter().find_map(|ours| name.strip_prefix(ours));
        let process = process.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let Some(process) = process else {
            continue;
        };
        if !Path::new("/proc").join(process.to_string()).exists() {
            let _ = std::fs::remove_dir_all(entry.path()); // somebody else sweeps, too
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_processes_are_swept() {
        let dir = tempfile::tempdir().expect("a folder");
        let alive = [format!("dmsc-perf-{}", std::process::id()), prefix()];
        // Process ids end at 2²².
        let dead = ["dmsc-testpmd-99999999-1", "dmsc-perf-99999998"];
        let others = ["rte", "dmsc-sg1", "dmsc-testpmd-x", &alive[0], &alive[1]];
        for name in dead.iter().chain(&others) {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        sweep(dir.path());
        for name in dead {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        for name in others {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }
}
