//! `dmsc-pod flood`: a pod that misbehaves, for a bounded time.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dmsc_pod::background::Background;
use dmsc_pod::clock::monotonic_ns;
use dmsc_wire::{AttachmentId, Domain, FlowLabel, Kind, NameBuf, NodeId, PacketBuilder, RequestId};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;

use super::Global;
use super::load::stop_signals;

/// Packets handed to the kernel at once.
const BATCH: usize = 64;
/// Different packets that are sent round and round.
const VARIETY: usize = 1_024;

#[derive(Debug, Args)]
#[command(after_help = "\
garbage needs no --identity: then the packets come from an endpoint that is not registered. unowned and spoof register.
Example:
  dmsc-pod --gateway 10.1.1.1 --identity pod2/x flood --rate max --seconds 5 --mode garbage")]
pub struct Flood {
    /// Packets per second, or max
    #[arg(long)]
    rate: Rate,
    /// Seconds, at most 600
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// What to send
    #[arg(long, value_enum, default_value_t = Mode::Garbage)]
    mode: Mode,
    /// Seed of the random bytes, to send the same again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send to a socket of this command's own that nobody reads: the same work, and the gateway sees none of it.
    /// What others feel then is the price of the computing, not of the packets
    #[arg(long)]
    nowhere: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Random bytes, and as many valid packets under names that this pod does not own
    Garbage,
    /// Valid packets under names that this pod does not own
    Unowned,
    /// Valid packets that claim another domain, gateway, attachment and name
    Spoof,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    Max,
    PerSecond(u32),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = text
            .parse()
            .ok()
            .filter(|rate| (1..=10_000_000).contains(rate));
        rate.map(Self::PerSecond)
            .ok_or_else(|| "must be max or 1 to 10000000".to_owned())
    }
}

impl Flood {
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let stop = stop_signals()?;
        let (background, mut socket) = self.open(global)?;
        let unread = UdpSocket::bind("127.0.0.1:0")?;
        if self.nowhere {
            socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(unread.local_addr()?)?;
        }
        let packets = packets(self.mode, self.seed);
        let (sent, refused) = flood(
            &socket,
            &packets,
            self.rate,
            Duration::from_secs(self.seconds),
            &stop,
        )?;
        drop(background);
        if global.json {
            println!(
                "{}",
                json!({ "sent": sent, "not_taken": refused, "seed": self.seed })
            );
        } else {
            println!(
                "sent {sent} packets; {refused} more were not taken by the kernel (seed {})",
                self.seed
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn open(&self, global: &Global) -> anyhow::Result<(Option<Background>, UdpSocket)> {
        if global.identity.is_some() || self.mode != Mode::Garbage {
            let (background, socket) = Background::connect(global.config()?)?;
            return Ok((Some(background), socket));
        }
        let gateway = global
            .gateway
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("--gateway is needed: where to send"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let registrar = runtime.block_on(gateway.resolve())?;
        let socket = dmsc_pod::socket::open(registrar, global.port, 1 << 20)?;
        Ok((None, socket))
    }
}

/// Sends until the time is over or a signal comes: packets sent, and not taken.
fn flood(
    socket: &UdpSocket,
    packets: &[Vec<u8>],
    rate: Rate,
    time: Duration,
    stop: &SignalFd,
) -> anyhow::Result<(u64, u64)> {
    let slices: Vec<[IoSlice<'_>; 1]> = packets
        .iter()
        .map(|packet| [IoSlice::new(packet)])
        .collect();
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let nowhere = [None::<SockaddrStorage>; BATCH];
    let start = monotonic_ns();
    let end = start + u64::try_from(time.as_nanos())?;
    let (mut sent, mut refused, mut next) = (0_u64, 0_u64, 0);
    loop {
        let now = monotonic_ns();
        if now >= end || stop.read_signal()?.is_some() {
            return Ok((sent, refused));
        }
        let batch = match rate {
            Rate::Max => BATCH,
            Rate::PerSecond(rate) => {
                let due = u128::from(now - start) * u128::from(rate) / 1_000_000_000;
                let behind = u64::try_from(due)?.saturating_sub(sent + refused);
                if behind == 0 {
                    std::thread::sleep(Duration::from_micros(500));
                    continue;
                }
                usize::try_from(behind)?.min(BATCH)
            }
        };
        let chunk = &slices[next..next + batch];
        next = (next + batch) % (VARIETY - BATCH);
        match sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            chunk,
            nowhere,
            [],
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(results) => sent += results.count() as u64,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ENOBUFS) => {
                refused += batch as u64;
                std::thread::yield_now();
            }
            // The fate of earlier packets, or a link that is down: part of what is tried.
            Err(
                nix::errno::Errno::ECONNREFUSED
                | nix::errno::Errno::ENETUNREACH
                | nix::errno::Errno::EHOSTUNREACH,
            ) => {
                refused += batch as u64;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn packets(mode: Mode, seed: u64) -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..VARIETY)
        .map(|number| match mode {
            Mode::Garbage if number % 2 == 0 => {
                let mut bytes = vec![0; random.random_range(1..=512)];
                random.fill_bytes(&mut bytes);
                bytes
            }
            Mode::Garbage | Mode::Unowned => valid(&mut random, false),
            Mode::Spoof => valid(&mut random, true),
        })
        .collect()
}

fn valid(random: &mut SmallRng, spoof: bool) -> Vec<u8> {
    let text = |random: &mut SmallRng, first: &str| {
        let (a, b) = (random.random_range(0..1_000), random.random_range(0..1_000));
        NameBuf::parse(&format!("/{first}/x{a}/y{b}")).expect("a canonical name")
    };
    let kinds = [
        Kind::Request,
        Kind::Response,
        Kind::EchoRequest,
        Kind::EchoReply,
    ];
    let kind = kinds[random.random_range(0..kinds.len())];
    let (destination, source) = (text(random, "shop"), text(random, "stolen"));
    let payload = vec![b'!'; random.random_range(0..=256)];
    let mut packet = PacketBuilder::new(kind)
        .destination(destination.as_name())
        .source(source.as_name())
        .flow_label(FlowLabel(random.random()))
        .request_id(RequestId(random.random()))
        .payload(&payload);
    if spoof {
        packet = packet
            .pinned()
            .domain(Domain(random.random_range(0..4)))
            .source_gateway(NodeId(random.random_range(0..8)))
            .source_attachment(AttachmentId(random.random_range(0..64)))
            .destination_gateway(NodeId(random.random_range(0..8)))
            .destination_attachment(AttachmentId(random.random_range(0..64)));
    }
    packet
        .to_vec()
        .expect("short names and a class of 0 always build")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_garbage_is_valid_and_all_of_the_rest() {
        let count = |mode| {
            packets(mode, 7)
                .iter()
                .filter(|packet| dmsc_wire::parse(packet).is_ok())
                .count()
        };
        assert_eq!(
            (count(Mode::Unowned), count(Mode::Spoof)),
            (VARIETY, VARIETY)
        );
        assert!((VARIETY / 2..VARIETY / 2 + 8).contains(&count(Mode::Garbage)));
        assert_eq!(packets(Mode::Garbage, 7), packets(Mode::Garbage, 7));
    }

    #[test]
    fn a_flood_ends_in_time_and_keeps_its_rate() {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source = UdpSocket::bind("127.0.0.1:0").unwrap();
        source.connect(sink.local_addr().unwrap()).unwrap();
        let stop = SignalFd::with_flags(
            &nix::sys::signal::SigSet::empty(),
            nix::sys::signalfd::SfdFlags::SFD_NONBLOCK,
        )
        .unwrap();
        let packets = packets(Mode::Garbage, 1);
        let (sent, refused) = flood(
            &source,
            &packets,
            Rate::PerSecond(2_000),
            Duration::from_millis(200),
            &stop,
        )
        .unwrap();
        assert!(
            (300..=400).contains(&(sent + refused)),
            "{sent} + {refused}"
        );
    }
}
