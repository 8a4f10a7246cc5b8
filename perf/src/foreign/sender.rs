//! dpdk-testpmd as a sender and receiver: told to begin, and asked what it counted.

use std::path::{Path, PathBuf};

use crate::testpmd::Testpmd;

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

/// testpmd with a capture file and both links.
#[derive(Debug)]
pub struct Sender(Testpmd);

impl Plan {
    /// Ports in their order: the capture file, the first link, the second link, the hellos. Port 0 is paired with 1, 2 with 3.
    fn eal(&self) -> Vec<String> {
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
            "--no-shconf".into(),
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
        arguments
    }

    fn own(&self) -> Vec<String> {
        // The file is kept in buffers, and as many again are on their way.
        let buffers = self.frames + 16_384;
        vec![
            "--forward-mode=io".into(),
            "--port-topology=paired".into(),
            "--nb-cores=1".into(),
            "--no-flush-rx".into(),
            format!("--total-num-mbufs={buffers}"),
            format!("--mbuf-size={}", self.buffer_size + 128),
        ]
    }
}

impl Sender {
    /// Starts it; it does not send yet.
    ///
    /// # Errors
    /// When it ends or says nothing, with what it said.
    pub fn start(plan: &Plan) -> anyhow::Result<Sender> {
        Testpmd::start(&plan.eal(), &plan.own()).map(Sender)
    }

    /// Lets it send.
    ///
    /// # Errors
    /// When it does not confirm.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.0.ask("start", "packet forwarding").map(|_| ())
    }

    /// Packets per second that port `port` received since this was last asked, by its own counters and its own clock.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn rate(&mut self, port: u16) -> anyhow::Result<f64> {
        self.0.tell(&format!("show port stats {port}"))?;
        Ok(self.0.hear_rate()? as f64)
    }

    /// Stops the whole process, in the midst of sending.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.0.pause()
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.0.ask("show config fwd", "forwarding").map(|_| ())
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> anyhow::Result<()> {
        self.0.stop()
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
        let line = plan.eal().join(" ");
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
