//! A UDP socket, used as dmsc-pod uses it for QUIC: trains out (UDP_SEGMENT), many messages per system call in.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::Context;
use dmsc_pod::train::MAX_PACKETS;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::time::TimeSpec;
use quinn_udp::{RecvMeta, UdpSocketState};

use super::link::{Link, Message, number};
use super::site::{MTU, POD_PORT, Side};
use crate::torture::net::ip;

/// Messages per system call, and bytes of each: as dmsc-pod has them.
const MESSAGES: usize = 16;
const MESSAGE: usize = 65_536;
/// Bytes of a train.
const MAX_BYTES: usize = 65_487;
/// Send and receive buffer: the default of pods.
const BUFFER: usize = 4 << 20;

/// The socket.
pub struct UdpLink {
    socket: UdpSocket,
    options: UdpSocketState,
    /// Packets that leave next, one behind the other, and the message of which all of them are.
    train: Vec<u8>,
    packets: usize,
    of: Option<u32>,
    /// Length of each.
    length: usize,
    received: Box<[u8]>,
}

impl UdpLink {
    /// Gives the interface, which is in this process's namespace, its address, and opens the socket.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn open(side: Side) -> anyhow::Result<UdpLink> {
        let interface = side.interface();
        let address = format!("{}/24", side.address());
        ip(&["addr", "add", &address, "dev", &interface])?;
        let mtu = MTU.to_string();
        ip(&["link", "set", &interface, "mtu", &mtu, "up"])?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(dmsc_pod::offload::fix(side.address().into()));
        drop(runtime);
        let gateway = SocketAddr::new(side.gateway().into(), dmsc_wire::UDP_PORT);
        let socket = dmsc_pod::socket::open(gateway, POD_PORT, BUFFER)?;
        Ok(UdpLink {
            options: UdpSocketState::new((&socket).into())
                .context("the socket lacks an option that every Linux has")?,
            socket,
            train: Vec::with_capacity(MAX_BYTES),
            packets: 0,
            of: None,
            length: 0,
            received: vec![0; MESSAGES * MESSAGE].into_boxed_slice(),
        })
    }

    fn block(&self, flags: PollFlags, limit: Duration) {
        let mut fds = [PollFd::new(self.socket.as_fd(), flags)];
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(limit)), None); // EINTR is as good as a packet
    }
}

impl Link for UdpLink {
    fn push(&mut self, message: &Message, id: u64) {
        let length = message.bytes.len();
        let most = (MAX_BYTES / length).clamp(1, MAX_PACKETS);
        if self.packets > 0 && (self.of != Some(message.key) || self.packets == most) {
            self.flush();
        }
        if self.of != Some(message.key) {
            self.train.clear();
            (self.of, self.length) = (Some(message.key), length);
        }
        let start = self.packets * length;
        if self.train.len() == start {
            self.train.extend_from_slice(&message.bytes);
        }
        number(&mut self.train[start..], id);
        self.packets += 1;
    }

    fn flush(&mut self) {
        if self.packets == 0 {
            return;
        }
        // The buffer may hold more packets of the same message, from a longer train before.
        let bytes = &self.train[..self.length * self.packets];
        let segment = self.length as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let control = if self.packets > 1 { &control[..] } else { &[] };
        for _ in 0..8 {
            let parts = [IoSlice::new(bytes)];
            let fd = self.socket.as_raw_fd();
            match sendmsg::<()>(fd, &parts, control, MsgFlags::empty(), None) {
                Err(Errno::EAGAIN) => self.block(PollFlags::POLLOUT, Duration::from_millis(10)),
                _ => break, // what cannot be sent is lost, as on any link
            }
        }
        self.packets = 0;
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut metas = [RecvMeta::default(); MESSAGES];
        let mut chunks = self.received.chunks_exact_mut(MESSAGE);
        let mut buffers: [IoSliceMut<'_>; MESSAGES] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let socket = (&self.socket).into();
        let Ok(messages) = self.options.recv(socket, &mut buffers, &mut metas) else {
            return 0;
        };
        let mut packets = 0;
        for (meta, buffer) in metas.iter().zip(&buffers).take(messages) {
            for packet in buffer[..meta.len].chunks(meta.stride.max(1)) {
                packets += 1;
                each(packet);
            }
        }
        packets
    }

    fn wait(&mut self, limit: Duration) {
        self.block(PollFlags::POLLIN, limit);
    }
}
