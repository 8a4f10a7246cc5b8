//! Trains: packets of one size, each with its own header, which pass the kernel as one message and leave it one by one (UDP_SEGMENT).
//!
//! A device that claims to do the cutting, and a gateway that reads the other end of it with af_packet, would make one frame of a train, which the gateway drops
//! as `gso-frame`. So trains are used only once the gateway has answered one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use arrayvec::ArrayVec;
use dmsc_wire::{Kind, Name, PacketBuilder, RouterName};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::debug;

use crate::pod::Inner;
use crate::socket::Socket;

/// Packets of a train at most; QUIC sends no more at a time.
pub const MAX_PACKETS: usize = 10;
/// Bytes of a train at most: what one UDP datagram over IPv6 without options could carry.
const MAX_BYTES: usize = 65_487;
/// Trains that are tried before they are given up.
const ATTEMPTS: usize = 3;

/// How long both answers may take.
const PATIENCE: Duration = Duration::from_millis(200);

const UNKNOWN: u8 = 0;
const ASKED: u8 = 1;
const PASS: u8 = 2;
const FAIL: u8 = 3;

/// Whether trains reach the gateway.
#[derive(Debug, Default)]
pub(crate) struct Trains {
    state: AtomicU8,
}

impl Trains {
    /// Packets of `length` bytes that may go as one message; 1 = no trains.
    pub fn packets(&self, length: usize) -> usize {
        if self.state.load(Relaxed) == PASS {
            (MAX_BYTES / length.max(1)).clamp(1, MAX_PACKETS)
        } else {
            1
        }
    }

    /// Somebody has a train to send: finds out, in the background, if nobody did.
    pub fn wanted(inner: &Arc<Inner>) {
        let state = &inner.trains.state;
        let first = state.compare_exchange(UNKNOWN, ASKED, Relaxed, Relaxed);
        if first.is_ok()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(find_out(Arc::clone(inner)));
        }
    }

    /// The way to the gateway may be another.
    pub fn forget(&self) {
        self.state.store(UNKNOWN, Relaxed);
    }

    /// The kernel's answer to a train: whether to send its packets one by one instead.
    pub fn refused(&self, error: &io::Error) -> bool {
        match error.raw_os_error().map(Errno::from_raw) {
            // By this device, or this kernel, never.
            Some(Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP) => {
                debug!(%error, "trains are sent one by one");
                self.state.store(FAIL, Relaxed);
                true
            }
            Some(Errno::EMSGSIZE) => true,
            _ => false,
        }
    }
}

/// Sends up to [`MAX_PACKETS`] packets as one message. All but the last have one length; `last` is the header of the last.
pub(crate) fn send(
    socket: &Socket,
    header: &[u8],
    last: &[u8],
    payloads: &[u8],
    segment: usize,
) -> io::Result<()> {
    let mut parts = ArrayVec::<IoSlice<'_>, { 2 * MAX_PACKETS }>::new();
    let mut chunks = payloads.chunks(segment).take(MAX_PACKETS).peekable();
    while let Some(payload) = chunks.next() {
        let header = if chunks.peek().is_some() {
            header
        } else {
            last
        };
        parts.push(IoSlice::new(header));
        parts.push(IoSlice::new(payload));
    }
    let length = (header.len() + segment) as u16;
    let control = [ControlMessage::UdpGsoSegments(&length)];
    let flags = MsgFlags::empty();
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &parts, &control, flags, None)?;
    Ok(())
}

/// Pings the gateway with a train of two.
async fn find_out(inner: Arc<Inner>) {
    let gateway = RouterName::new(inner.session.registered().gateway);
    let mut found = FAIL;
    for _ in 0..ATTEMPTS {
        match ping(&inner, gateway.as_name()).await {
            Ok(true) => found = PASS,
            Ok(false) => continue,
            Err(error) => debug!(%error, "a train was not sent"),
        }
        break;
    }
    debug!(pass = found == PASS, "trains");
    // Asked again meanwhile: that one tells.
    let state = &inner.trains.state;
    let _ = state.compare_exchange(ASKED, found, Relaxed, Relaxed);
}

/// Whether both packets of a train were answered.
async fn ping(inner: &Inner, gateway: Name<'_>) -> io::Result<bool> {
    let busy = || io::Error::from(io::ErrorKind::ResourceBusy);
    let mut first = inner.in_flight.start().ok_or_else(busy)?;
    let mut second = inner.in_flight.start().ok_or_else(busy)?;
    let registered = inner.session.registered();
    let packet = |id| {
        PacketBuilder::new(Kind::EchoRequest)
            .destination(gateway)
            .source(registered.source_name.as_name())
            .domain(registered.domain)
            .request_id(id)
            .payload(&[0])
            .to_vec()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    };
    // The payload byte is the same in both.
    let (one, two) = (packet(first.id)?, packet(second.id)?);
    let header = one.len() - 1;
    send(&inner.socket, &one[..header], &two[..header], &[0, 0], 1)?;
    let both = async { (&mut first.answer).await.is_ok() && (&mut second.answer).await.is_ok() };
    Ok(timeout(PATIENCE, both).await.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::process::Command;

    use nix::net::if_::if_nametoindex;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
        sockopt,
    };
    use nix::sys::time::TimeVal;

    use super::*;

    const SEGMENT: usize = 1_000;
    const HEADER: usize = 52;
    /// Ethernet, IPv4, UDP.
    const OUTER: usize = 14 + 20 + 8;

    fn run(command: &str) -> bool {
        let mut words = command.split(' ');
        let program = words.next().unwrap();
        Command::new(program)
            .args(words)
            .output()
            .is_ok_and(|output| output.status.success())
    }

    /// A link of this thread's own network namespace, which ends with the thread.
    fn link() -> bool {
        unshare(CloneFlags::CLONE_NEWNET).is_ok()
            && [
                "ip link add pod0 type veth peer name gw0",
                "ip addr add 10.9.9.2/24 dev pod0",
                "ip link set pod0 up",
                "ip link set gw0 up",
                "ip neigh add 10.9.9.1 lladdr 02:00:00:00:00:01 dev pod0",
            ]
            .into_iter()
            .all(run)
    }

    /// Whether the UDP checksum of a frame is right (RFC 768), with a pseudo header of addresses, protocol and length.
    fn is_checked(frame: &[u8]) -> bool {
        let (addresses, udp) = (&frame[26..34], &frame[34..]);
        let words = [addresses, udp].concat();
        let sum = words
            .chunks(2)
            .map(|word| u64::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
        (sum.sum::<u64>() + 17 + udp.len() as u64).is_multiple_of(0xffff)
    }

    /// Lengths of the frames of a train of four at the link's other end, as af_packet sees them, and whether their checksums are right.
    async fn frames(socket: &Socket, tap: &OwnedFd) -> Vec<(usize, bool)> {
        let other = if_nametoindex("gw0").unwrap() as usize;
        let payloads = [7; 3 * SEGMENT + 100];
        send(socket, &[1; HEADER], &[2; HEADER], &payloads, SEGMENT).unwrap();
        let (mut frames, mut bytes) = (Vec::new(), 0);
        let mut buffer = vec![0; 65_536];
        while bytes < 4 * HEADER + payloads.len() {
            let (length, from) = recvfrom::<LinkAddr>(tap.as_raw_fd(), &mut buffer).unwrap();
            let to_gateway = buffer[..6] == [2, 0, 0, 0, 0, 1];
            if to_gateway && from.is_some_and(|from| from.ifindex() == other) {
                bytes += length - OUTER;
                frames.push((length, is_checked(&buffer[..length])));
            }
        }
        frames
    }

    #[test]
    fn a_train_leaves_a_veth_as_single_packets_once_its_offload_is_off() {
        // A thread of its own, and its namespace with it.
        let thread = std::thread::spawn(|| {
            if !link() {
                eprintln!("skipped: a veth pair cannot be made here (needs root and iproute2)");
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let tap = socket(
                    AddressFamily::Packet,
                    SockType::Raw,
                    SockFlag::empty(),
                    SockProtocol::EthAll,
                )
                .unwrap();
                let patience = TimeVal::new(5, 0);
                setsockopt(&tap, sockopt::ReceiveTimeout, &patience).unwrap();
                let pod = UdpSocket::bind("10.9.9.2:0").unwrap();
                pod.set_nonblocking(true).unwrap();
                pod.connect("10.9.9.1:35029").unwrap();
                let pod = Socket::new(pod).unwrap();
                let whole = frames(&pod, &tap).await;
                let length = OUTER + 4 * HEADER + 3 * SEGMENT + 100;
                assert_eq!(whole, [(length, false)], "why trains are tried first");
                crate::offload::fix(Ipv4Addr::new(10, 9, 9, 2).into()).await;
                let (single, last) = (OUTER + HEADER + SEGMENT, OUTER + HEADER + 100);
                let cut = frames(&pod, &tap).await;
                let expected = [single, single, single, last].map(|length| (length, true));
                assert_eq!(cut, expected);
            });
        });
        thread.join().unwrap();
    }
}
