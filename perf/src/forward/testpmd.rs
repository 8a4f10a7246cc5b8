//! The peer: DPDK's testpmd in its mode `mac`, on the same rig, told what to do on its command line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Pmd;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process; killed when dropped.
pub struct Testpmd {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
    stopped: bool,
}

impl Testpmd {
    /// Starts it with both ends of a rig and `workers` forwarding cores, the last ones of `cores`.
    ///
    /// # Errors
    /// When it is not installed, or says that it cannot.
    pub fn start(
        dir: &Path,
        pmd: Pmd,
        frame: usize,
        main: usize,
        cores: &[usize],
    ) -> anyhow::Result<Testpmd> {
        std::fs::create_dir_all(dir)?;
        let list: Vec<String> = std::iter::once(&main)
            .chain(cores)
            .map(usize::to_string)
            .collect();
        // Two lcores may not share a CPU unless they are placed by hand.
        let placed: Vec<String> = list
            .iter()
            .enumerate()
            .map(|(lcore, cpu)| format!("{lcore}@{cpu}"))
            .collect();
        // Line by line: into a pipe it would tell its figures when its buffer is full.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "dpdk-testpmd"]);
        command.args(["--in-memory", "--no-pci", "--no-telemetry"]);
        command.arg(format!("--lcores={}", placed.join(",")));
        let dir = dir.display();
        let vdevs = match pmd {
            Pmd::Null => [0, 1].map(|n| format!("--vdev=net_null{n},size={frame}")),
            Pmd::Memif => [
                format!(
                    "--vdev=net_memif0,role=server,id=0,socket-abstract=no,socket={dir}/testpmd"
                ),
                format!(
                    "--vdev=net_memif1,role=client,id=0,socket-abstract=no,socket={dir}/./testpmd"
                ),
            ],
        };
        command.args(vdevs);
        command.args(["--", "-i", "--forward-mode=mac", "--total-num-mbufs=16384"]);
        command.arg(format!("--nb-cores={}", cores.len()));
        let queues = cores.len();
        command.arg(format!("--rxq={queues}"));
        command.arg(format!("--txq={queues}"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(
                "stdbuf, which dpdk-testpmd is started with, is not there: `apt-get install coreutils`",
            )?;
        let orders = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Testpmd {
            child,
            orders,
            lines,
            stopped: false,
        };
        if frame != 64 {
            peer.say(&format!("set txpkts {frame}"))?;
        }
        // It answers when its ports are up.
        peer.rates()?;
        Ok(peer)
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        if self.stopped {
            kill(self.pid(), Signal::SIGCONT)?;
            self.stopped = false;
        }
        writeln!(self.orders, "{line}").context("dpdk-testpmd has ended")?;
        self.orders.flush()?;
        Ok(())
    }

    /// Packets per second that were received since the last call, by testpmd's own count and clock.
    fn rates(&mut self) -> anyhow::Result<u64> {
        self.say("show port stats all")?;
        let end = Instant::now() + PATIENCE;
        let mut rates = Vec::new();
        while rates.len() < 2 {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let rate = line.trim().strip_prefix("Rx-pps:");
                    let rate =
                        rate.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
                    rates.extend(rate);
                }
                Err(RecvTimeoutError::Timeout) => bail!("dpdk-testpmd does not answer"),
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "dpdk-testpmd has ended ({:?}): is it installed (`apt-get install dpdk-dev` on Debian), and are enough huge pages free? \
                     --peer none leaves it out",
                    self.child.wait()?
                ),
            }
        }
        Ok(rates.iter().sum::<u64>())
    }

    /// Forwards, warms up, and counts for so long; packets per second.
    ///
    /// # Errors
    /// When it has ended.
    pub fn measure(&mut self, warm_ms: u64, ms: u64) -> anyhow::Result<f64> {
        self.say("start tx_first")?;
        std::thread::sleep(Duration::from_millis(warm_ms));
        self.rates()?;
        std::thread::sleep(Duration::from_millis(ms));
        let rate = self.rates()?;
        self.say("stop")?;
        Ok(rate as f64)
    }

    /// Stops the whole process, so that it takes no time from the router.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        // What it was told before is done when it answers.
        self.rates()?;
        kill(self.pid(), Signal::SIGSTOP)?;
        self.stopped = true;
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.say("quit");
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
