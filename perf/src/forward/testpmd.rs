//! The peer: DPDK's testpmd in its mode `mac`, on the same rig.

use std::path::Path;
use std::time::Duration;

use super::Pmd;
use super::veth::Ends;
use crate::testpmd::Testpmd;
use crate::transit::Size;

/// Buffers, where they are small, and where they hold 9,000 bytes.
const BUFFERS: (u32, u32) = (16_384, 4_096);

/// Bytes in front of a frame in an mbuf.
const HEADROOM: u16 = 128;
/// How long both ends are polled until they are connected; nothing tells when they are.
const CONNECT: Duration = Duration::from_millis(300);

/// What it shall be.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Folder of sockets.
    pub dir: &'a Path,
    /// Kind of both ports.
    pub pmd: Pmd,
    /// Lengths of frames.
    pub size: Size,
    /// Core of its main thread.
    pub main: usize,
    /// Cores that forward, each with a queue of its own of both ports.
    pub cores: &'a [usize],
    /// Interfaces of the ports, where they stand on such.
    pub ends: Option<&'a Ends>,
}

/// testpmd with two ports that are joined to each other.
pub struct Looped {
    testpmd: Testpmd,
    /// Frames are in the loop already, and stay.
    is_filled: bool,
}

impl Plan<'_> {
    fn socket(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Bytes of a packet buffer, as the router has them.
    fn buffer(&self) -> u16 {
        (self.size.mtu() + 64).next_multiple_of(64).max(2_048)
    }

    /// Bytes of an mbuf; the driver of packet sockets compares it with its whole frame.
    fn room(&self) -> u16 {
        match self.pmd {
            Pmd::AfPacket => self.buffer().max(self.packet_frame()),
            _ => self.buffer(),
        }
    }

    /// Bytes of a frame in the ring of a packet socket, as the router has them.
    fn packet_frame(&self) -> u16 {
        if self.size.mtu() > 1_800 {
            10_240
        } else {
            2_048
        }
    }

    fn vdevs(&self) -> Vec<String> {
        let both = |text: &dyn Fn(usize) -> String| [0, 1].map(text).to_vec();
        match self.pmd {
            Pmd::Null => both(&|n| format!("net_null{n},size={}", self.size)),
            Pmd::Memif => both(&|n| {
                // Two spellings of one path: DPDK knows a socket either as listening or as connecting.
                let (role, socket) = [("server", "testpmd"), ("client", "./testpmd")][n];
                format!(
                    "net_memif{n},role={role},id=0,socket-abstract=no,socket={}/{socket},rsize=10,bsize={}",
                    self.dir.display(),
                    self.buffer()
                )
            }),
            // The host listens once its port is started; the guest comes then.
            Pmd::Virtio => vec![format!(
                "net_vhost0,iface={},queues=1",
                self.socket("testpmd")
            )],
            Pmd::AfPacket => {
                let frame = self.packet_frame();
                let count = if frame > 2_048 { 256 } else { 512 };
                both(&|n| {
                    format!(
                        "net_af_packet{n},iface={},qpairs=1,blocksz={},framesz={frame},framecnt={count},qdisc_bypass=1",
                        self.interface(n),
                        2 * frame
                    )
                })
            }
            Pmd::AfXdp => {
                both(&|n| format!("net_af_xdp{n},iface={},start_queue=0", self.interface(n)))
            }
        }
    }

    fn interface(&self, port: usize) -> &str {
        self.ends.map_or("", |ends| &ends.interfaces[port])
    }

    fn eal(&self) -> Vec<String> {
        // Two lcores may not share a CPU unless they are placed by hand.
        let all = std::iter::once(&self.main).chain(self.cores);
        let lcores: Vec<String> = all
            .enumerate()
            .map(|(lcore, core)| format!("{lcore}@{core}"))
            .collect();
        let mut arguments = vec![
            "--in-memory".into(),
            "--single-file-segments".into(),
            format!("--lcores={}", lcores.join(",")),
        ];
        let vdevs = self.vdevs().into_iter();
        arguments.extend(vdevs.map(|vdev| format!("--vdev={vdev}")));
        arguments
    }

    fn own(&self) -> Vec<String> {
        let buffers = match self.size.mtu() {
            9_000 => BUFFERS.1,
            _ => BUFFERS.0,
        };
        let mut arguments = vec![
            "--forward-mode=mac".into(),
            format!("--nb-cores={}", self.cores.len()),
            format!("--rxq={}", self.cores.len()),
            format!("--txq={}", self.cores.len()),
            format!("--total-num-mbufs={buffers}"),
            format!("--mbuf-size={}", self.room() + HEADROOM),
        ];
        if let Some(ends) = self.ends {
            // Frames to somebody else would cost the kernel less than the router's.
            let peers = [1, 0].map(|n| &ends.macs[n]);
            arguments.extend((0..2).map(|n| format!("--eth-peer={n},{}", peers[n])));
        }
        if self.size == Size::Imix {
            arguments.push("--no-flush-rx".into());
        }
        arguments
    }
}

impl Looped {
    /// Starts it.
    ///
    /// # Errors
    /// When it is not installed, or says that it cannot.
    pub fn start(plan: &Plan<'_>) -> anyhow::Result<Looped> {
        std::fs::create_dir_all(plan.dir)?;
        let mut testpmd = Testpmd::start(&plan.eal(), &plan.own())?;
        if plan.pmd == Pmd::Virtio {
            let socket = plan.socket("testpmd");
            testpmd.ask(
                &format!("port attach net_virtio_user0,path={socket},queues=1,queue_size=256"),
                "is attached",
            )?;
            testpmd.ask("port start 1", "Done")?;
            testpmd.tell("set portlist 0,1")?;
            testpmd.tell("set fwd mac")?;
        }
        if let Size::Bytes(bytes) = plan.size {
            testpmd.tell(&format!("set txpkts {bytes}"))?;
        }
        let mut looped = Looped {
            testpmd,
            is_filled: false,
        };
        // memif carries nothing before both ends were polled: without this the first frames would be lost.
        looped.testpmd.ask("start", "packet forwarding")?;
        std::thread::sleep(CONNECT);
        looped.testpmd.ask("stop", "Done")?;
        if plan.size == Size::Imix {
            looped.fill(plan.size)?;
        }
        looped.rates()?;
        Ok(looped)
    }

    /// Puts frames of different lengths into the loop, in the order in which the router has them: sorted by length they would be faster.
    fn fill(&mut self, size: Size) -> anyhow::Result<()> {
        let frames = super::frames_in_loop(size);
        let lengths: Vec<usize> = size.cycle().into_iter().cycle().take(frames).collect();
        for same in lengths.chunk_by(|a, b| a == b) {
            self.testpmd.tell(&format!("set burst {}", same.len()))?;
            self.testpmd.tell(&format!("set txpkts {}", same[0]))?;
            self.testpmd.tell("start tx_first")?;
            self.testpmd.tell("stop")?;
        }
        self.testpmd.tell("set burst 32")?;
        self.is_filled = true;
        Ok(())
    }

    /// Packets per second that were received since the last call, by testpmd's own count and clock.
    fn rates(&mut self) -> anyhow::Result<u64> {
        self.testpmd.tell("show port stats all")?;
        Ok(self.testpmd.hear_rate()? + self.testpmd.hear_rate()?)
    }

    /// Forwards, warms up, and counts for so long; packets per second.
    ///
    /// # Errors
    /// When it has ended.
    pub fn measure(&mut self, warm_ms: u64, ms: u64) -> anyhow::Result<f64> {
        self.testpmd.tell(match self.is_filled {
            true => "start",
            false => "start tx_first",
        })?;
        std::thread::sleep(Duration::from_millis(warm_ms));
        self.rates()?;
        std::thread::sleep(Duration::from_millis(ms));
        let rate = self.rates()?;
        self.testpmd.tell("stop")?;
        Ok(rate as f64)
    }

    /// Stops the whole process, so that it takes no time from the router.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.testpmd.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_the_router_has() {
        let ends = Ends::of("ft");
        let plan = Plan {
            dir: Path::new("/t"),
            pmd: Pmd::AfPacket,
            size: Size::Bytes(9_000),
            main: 0,
            cores: &[3],
            ends: Some(&ends),
        };
        let line = [plan.eal(), plan.own()].concat().join(" ");
        for part in [
            "--lcores=0@0,1@3",
            "net_af_packet1,iface=ft1,qpairs=1,blocksz=20480,framesz=10240",
            "--eth-peer=0,02:00:00:00:00:0b",
            "--mbuf-size=10368",
            "--nb-cores=1 --rxq=1 --txq=1",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn each_core_has_a_queue() {
        let plan = Plan {
            dir: Path::new("/t"),
            pmd: Pmd::Null,
            size: Size::Bytes(192),
            main: 0,
            cores: &[1, 0],
            ends: None,
        };
        let line = [plan.eal(), plan.own()].concat().join(" ");
        for part in [
            "--lcores=0@0,1@1,2@0",
            "--vdev=net_null1,size=192",
            "--nb-cores=2 --rxq=2 --txq=2",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
