//! dpdk-testpmd as a sender and receiver: started, told to begin, and asked what it counted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Longest start and longest answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says when it waits for a command.
const PROMPT: &str = "testpmd> ";
/// Memory, MiB.
const MEMORY_MB: u32 = 192;

/// What it shall be.
#[derive(Debug)]
pub struct Plan {
    /// Core of its main thread and of the one that forwards.
    pub core: usize,
    /// Capture file to send into the first link, again and again.
    pub traffic: PathBuf,
    /// Capture file to send into the second link, once.
    pub hellos: PathBuf,
    /// memif sockets of both links.
    pub sockets: [PathBuf; 2],
    /// Frames in `traffic`.
    pub frames: u32,
    /// Bytes of a memif buffer.
    pub buffer_size: u16,
    /// Hugepages or not.
    pub huge: bool,
}

/// The running program; killed when this value goes.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    stdin: ChildStdin,
    output: Receiver<String>,
    /// All lines so far, for an error.
    seen: Vec<String>,
}

/// Its version, or why it is not there.
///
/// # Errors
/// When it cannot be run.
pub fn version() -> anyhow::Result<String> {
    // It prints the version while it starts; without ports it then ends.
    let prefix = format!("--file-prefix=dmsc-testpmd-{}", std::process::id());
    let output = Command::new("dpdk-testpmd")
        .args([
            "-v",
            "--no-huge",
            "--no-pci",
            "--no-shconf",
            "--no-telemetry",
        ])
        .args(["-m", "16", &prefix, "--", "--help"])
        .stdin(Stdio::null())
        .output()
        .context("there is no dpdk-testpmd: apt-get install dpdk")?;
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

impl Plan {
    /// Ports in their order: the capture file, the first link, the second link, the hellos. Port 0 is paired with 1, 2 with 3.
    fn arguments(&self) -> Vec<String> {
        let Plan { core, .. } = self;
        let path = |path: &Path| path.display().to_string();
        let memif = |number: usize| {
            format!(
                "net_memif{number},role=client,id=0,socket={},socket-abstract=no,rsize=10,bsize={}",
                path(&self.sockets[number]),
                self.buffer_size
            )
        };
        let mut arguments = vec![
            format!("--lcores=0@{core},1@{core}"),
            "--no-pci".into(),
            "--no-telemetry".into(),
            "--no-shconf".into(),
            format!("--file-prefix=dmsc-testpmd-{}", std::process::id()),
            "-m".into(),
            MEMORY_MB.to_string(),
        ];
        match self.huge {
            true => {
                arguments.extend(["--in-memory".into(), "--single-file-segments".into()]);
            }
            false => arguments.push("--no-huge".into()),
        }
        for device in [
            format!("net_pcap0,rx_pcap={},infinite_rx=1", path(&self.traffic)),
            memif(0),
            memif(1),
            format!("net_pcap1,rx_pcap={}", path(&self.hellos)),
        ] {
            arguments.extend(["--vdev".into(), device]);
        }
        // The file is kept in buffers, and as many again are on their way.
        let buffers = self.frames + 16_384;
        arguments.extend([
            "--".into(),
            "-i".into(),
            "--forward-mode=io".into(),
            "--port-topology=paired".into(),
            "--nb-cores=1".into(),
            "--no-flush-rx".into(),
            format!("--total-num-mbufs={buffers}"),
            format!("--mbuf-size={}", self.buffer_size + 128),
        ]);
        arguments
    }
}

impl Testpmd {
    /// Starts it; it does not send yet.
    ///
    /// # Errors
    /// When it ends or says nothing, with what it said.
    pub fn start(plan: &Plan) -> anyhow::Result<Testpmd> {
        let mut child = Command::new("setpriv")
            // Into a pipe it would write whole pages only.
            .args(["--pdeathsig", "KILL", "stdbuf", "-oL", "dpdk-testpmd"])
            .args(plan.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run setpriv: install util-linux")?;
        let stdin = child.stdin.take().context("standard input is a pipe")?;
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
            stdin,
            output,
            seen: Vec::new(),
        };
        // It has no newline behind its prompt: an answer to a command shows that it is ready.
        testpmd.ask("show config fwd", "forwarding")?;
        Ok(testpmd)
    }

    /// Lets it send.
    ///
    /// # Errors
    /// When it does not confirm.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.ask("start", "packet forwarding").map(|_| ())
    }

    /// Packets that port `port` received so far, by its own counters, and when they were read.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn received(&mut self, port: u16) -> anyhow::Result<(u64, Instant)> {
        let line = self.ask(&format!("show port stats {port}"), "RX-packets:")?;
        let count = line
            .split("RX-packets:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("testpmd's counters cannot be read from {line:?}"))?;
        Ok((count, Instant::now()))
    }

    fn ask(&mut self, command: &str, wanted: &str) -> anyhow::Result<String> {
        writeln!(self.stdin, "{command}").context("testpmd takes no commands any more")?;
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
                    let last = self.seen.len().saturating_sub(12);
                    bail!(
                        "dpdk-testpmd did not answer {command:?}; its last lines:\n{}",
                        self.seen[last..].join("\n")
                    );
                }
            }
        }
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let _ = writeln!(self.stdin, "quit"); // if it ended before, waiting tells
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("dpdk-testpmd did not end on `quit`");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_paired_in_their_order() {
        let plan = Plan {
            core: 3,
            traffic: "/t/a.pcap".into(),
            hellos: "/t/h.pcap".into(),
            sockets: ["/t/in.sock".into(), "/t/out.sock".into()],
            frames: 64,
            buffer_size: 2_048,
            huge: false,
        };
        let line = plan.arguments().join(" ");
        let places = [
            "net_pcap0,rx_pcap=/t/a.pcap,infinite_rx=1",
            "net_memif0",
            "net_memif1",
            "net_pcap1",
        ]
        .map(|device| line.find(device).expect("a device"));
        assert!(places.is_sorted(), "{line}");
        assert!(
            line.contains("--lcores=0@3,1@3") && line.contains("--no-huge"),
            "{line}"
        );
        assert!(
            line.contains("socket=/t/out.sock,socket-abstract=no"),
            "{line}"
        );
    }
}
