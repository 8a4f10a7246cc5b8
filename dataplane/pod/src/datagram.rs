//! Datagrams: packets that nobody waits for (request id 0), for a transport that brings its own reliability.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use dmsc_wire::{
    AttachmentId, BuildError, Ecn, ErrorCode, ErrorMessage, Flags, FlowLabel, Header, Kind,
    MAX_HEADER, Name, NodeId, PacketBuilder,
};

use crate::counters::count;
use crate::pod::Inner;
use crate::receiver::{self, Covered, Look};
use crate::session::Registered;
use crate::towards::{NOBODY_WAITS, Towards};
use crate::train::{self, Trains};
use crate::treatment::Treatment;

/// A packet that came in: a request under one of the pod's names, a response, or what a router says about one that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    header: &'a Header,
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Request, response or error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.header.kind
    }

    /// The name that it is for: of a request, the one that was called.
    #[must_use]
    pub fn name(&self) -> Option<Name<'a>> {
        self.header.destination_name(self.bytes)
    }

    /// The name that it is from: of a response, the one that was called.
    #[must_use]
    pub fn source_name(&self) -> Option<Name<'a>> {
        self.header.source_name(self.bytes)
    }

    /// The sender's gateway, as written there.
    #[must_use]
    pub const fn gateway(&self) -> NodeId {
        self.header.source_gateway
    }

    /// The sender's attachment, as written by its gateway.
    #[must_use]
    pub const fn attachment(&self) -> AttachmentId {
        self.header.source_attachment
    }

    /// The flow; answers carry that of what they answer.
    #[must_use]
    pub const fn flow_label(&self) -> FlowLabel {
        self.header.flow_label
    }

    /// The class that it came in, and by which topology.
    #[must_use]
    pub fn treatment(&self) -> Treatment {
        Treatment {
            class: self.header.class,
            by_delay: self.header.flags.contains(Flags::BY_DELAY),
        }
    }

    /// What the way says about its congestion.
    #[must_use]
    pub const fn ecn(&self) -> Ecn {
        self.header.ecn
    }

    /// What was said.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.header.payload(self.bytes)
    }

    /// Of an error packet: why, and by whom.
    #[must_use]
    pub fn error(&self) -> Option<ErrorMessage<'a>> {
        (self.kind() == Kind::Error)
            .then(|| ErrorMessage::decode(self.payload()).ok())
            .flatten()
    }
}

/// The datagrams of a pod. Whoever has them reads the pod's socket: without a task between, and for calls and requests of the pod too, which go on only while
/// [`Datagrams::poll_recv`] is polled. Dropping them gives that back to the pod.
pub struct Datagrams {
    inner: Arc<Inner>,
    /// Where packets are built: one buffer for all of them.
    out: Mutex<Vec<u8>>,
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").finish_non_exhaustive()
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.inner.receiver.give_back();
    }
}

impl Datagrams {
    /// `None` while somebody has them.
    pub(crate) fn take(inner: &Arc<Inner>) -> Option<Self> {
        inner.receiver.take().then(|| Self {
            inner: Arc::clone(inner),
            out: Mutex::default(),
        })
    }

    /// The registration as it is now.
    #[must_use]
    pub fn registered(&self) -> Arc<Registered> {
        self.inner.session.registered()
    }

    /// Largest payload in bytes between the two names on the pod's link; 0 when the names alone do not fit.
    #[must_use]
    pub fn max_payload(&self, towards: Towards<'_>) -> usize {
        let registered = self.registered();
        let header = towards.packet(&registered).header_len();
        registered.max_packet.saturating_sub(header)
    }

    /// Largest payload that there may come to be room for, see [`crate::Pod::largest_packet`].
    #[must_use]
    pub fn largest_payload(&self, towards: Towards<'_>) -> usize {
        let header = towards.packet(&self.registered()).header_len();
        self.inner.largest_packet().saturating_sub(header)
    }

    /// Shows datagrams as they come to `look`, until it says that it has no room for one, which it is shown again the next time. Ready once it was shown any, and
    /// as many as came together. Only the last task that asked is woken.
    ///
    /// # Errors
    /// The runtime is being shut down.
    pub fn poll_recv(
        &self,
        context: &mut Context<'_>,
        look: &mut Look<'_>,
    ) -> Poll<io::Result<()>> {
        receiver::poll(&self.inner, context, Some(look))
    }

    /// Sends without waiting. A gateway that is away loses it, as a link would.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: wait for [`Datagrams::writable`]; [`io::ErrorKind::InvalidInput`]: too big for the pod's link or for the
    /// names in one header; others as the socket gives them.
    pub fn try_send(
        &self,
        towards: Towards<'_>,
        flow_label: FlowLabel,
        treatment: impl Into<Treatment>,
        ecn: Ecn,
        payload: &[u8],
    ) -> io::Result<()> {
        let segment = payload.len();
        self.try_send_all(towards, flow_label, treatment, ecn, payload, segment)
    }

    /// Sends datagrams of `segment` bytes each, but for the last, which may be shorter: as one message to the kernel where the gateway gets them one by one.
    ///
    /// # Errors
    /// As [`Datagrams::try_send`]; some may then be sent already.
    pub fn try_send_all(
        &self,
        towards: Towards<'_>,
        flow_label: FlowLabel,
        treatment: impl Into<Treatment>,
        ecn: Ecn,
        payloads: &[u8],
        segment: usize,
    ) -> io::Result<()> {
        let registered = self.registered();
        let packet = towards.packet(&registered);
        let treatment: Treatment = treatment.into();
        let packet = packet
            .flow_label(flow_label)
            .class(treatment.class)
            .flag(treatment.flags())
            .ecn(ecn);
        let segment = segment.max(1);
        let length = packet.header_len() + segment.min(payloads.len());
        if length > registered.max_packet {
            count(&self.inner.counters.unsendable);
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let Some(sent) = self.shared(&packet, payloads, segment) {
            return sent;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.len() < length {
            out.resize(length, 0);
        }
        if payloads.len() <= segment {
            return self.one(&packet.payload(payloads), &mut out);
        }
        Trains::wanted(&self.inner);
        let train = self.inner.trains.packets(length) * segment;
        for payloads in payloads.chunks(train) {
            if payloads.len() <= segment || !self.train(&packet, payloads, segment)? {
                for payload in payloads.chunks(segment) {
                    self.one(&packet.payload(payload), &mut out)?;
                }
            }
        }
        Ok(())
    }

    /// By shared memory, where each packet is a frame and all of them leave together. `None`: it is down.
    fn shared(
        &self,
        packet: &PacketBuilder<'_>,
        payloads: &[u8],
        segment: usize,
    ) -> Option<io::Result<()>> {
        // An empty datagram is one, too.
        let packets = payloads.len().div_ceil(segment).max(1);
        self.inner.send_shared(packets as u64, |outgoing| {
            let mut header = [0; MAX_HEADER];
            let mut length =
                self.built(packet.write_header(segment.min(payloads.len()), &mut header))?;
            if packets == 1 {
                return outgoing.push([&header[..length], payloads]);
            }
            // All or none, or the first ones would go twice.
            outgoing.room_for(packets, length + segment)?;
            for payload in payloads.chunks(segment) {
                if payload.len() < segment {
                    length = self.built(packet.write_header(payload.len(), &mut header))?;
                }
                outgoing.push([&header[..length], payload])?;
            }
            Ok(())
        })
    }

    fn one(&self, packet: &PacketBuilder<'_>, out: &mut [u8]) -> io::Result<()> {
        let length = self.built(packet.write(out))?;
        let packet = &out[..length];
        let inner = &*self.inner;
        let sent = inner.try_again(|| inner.socket.try_send(packet).map(drop));
        inner.count_sent(1, sent)
    }

    /// `false`: they must go one by one.
    fn train(
        &self,
        packet: &PacketBuilder<'_>,
        payloads: &[u8],
        segment: usize,
    ) -> io::Result<bool> {
        let (mut header, mut last) = ([0; MAX_HEADER], [0; MAX_HEADER]);
        let length = self.built(packet.write_header(segment, &mut header))?;
        let shorter = (payloads.len() - 1) % segment + 1;
        self.built(packet.write_header(shorter, &mut last))?;
        let (header, last) = (&header[..length], &last[..length]);
        let socket = &self.inner.socket;
        let inner = &*self.inner;
        let sent = inner.try_again(|| train::send(socket, header, last, payloads, segment));
        match sent {
            Err(error) if self.inner.trains.refused(&error) => Ok(false),
            sent => {
                if sent.is_ok() {
                    count(&self.inner.counters.trains);
                }
                let packets = payloads.len().div_ceil(segment);
                inner.count_sent(packets as u64, sent).map(|()| true)
            }
        }
    }

    fn built<T>(&self, built: Result<T, BuildError>) -> io::Result<T> {
        built.map_err(|error| {
            count(&self.inner.counters.unsendable);
            io::Error::new(io::ErrorKind::InvalidInput, error)
        })
    }

    /// Until the socket may take a datagram again. Any number of tasks may wait.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn writable(&self) -> io::Result<()> {
        self.inner.writable().await
    }
}

/// A packet that is a datagram, for whoever has them; `Some(false)`: not now.
pub(crate) fn offer(
    inner: &Inner,
    covered: &mut Covered,
    header: &Header,
    bytes: &[u8],
    look: &mut Look<'_>,
) -> Option<bool> {
    // A router's answer carries the id of what it answers inside, too; the header's is the same.
    let kind = matches!(header.kind, Kind::Request | Kind::Response | Kind::Error);
    if !kind || header.request_id != NOBODY_WAITS {
        return None;
    }
    let ours = header.kind != Kind::Request
        || header
            .destination_name(bytes)
            .is_some_and(|name| covered.contains(inner, name));
    if !ours {
        count(&inner.counters.not_served);
        return Some(true);
    }
    if !look(Datagram { header, bytes }) {
        return Some(false);
    }
    count(&inner.counters.datagrams);
    if header.kind == Kind::Error
        && ErrorMessage::decode(header.payload(bytes))
            .is_ok_and(|message| message.code == ErrorCode::SourceNotOwned)
    {
        inner.session.suspect();
    }
    Some(true)
}
