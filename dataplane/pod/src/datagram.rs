//! Datagrams: packets that nobody waits for (request id 0), for a transport that brings its own reliability.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use dmsc_wire::{
    AttachmentId, Ecn, ErrorCode, ErrorMessage, FlowLabel, Header, Kind, Name, NodeId,
    PacketBuilder, RequestId,
};
use tokio::sync::mpsc;

use crate::call::Pin;
use crate::counters::count;
use crate::pod::Inner;
use crate::session::Registered;

/// The request id of every datagram; calls count theirs from elsewhere.
pub(crate) const NOBODY_WAITS: RequestId = RequestId(0);
/// Datagrams that wait to be taken, at most; beyond it they are dropped, as by a full link.
const QUEUE: usize = 4_096;

/// A packet that came in: a request under one of the pod's names, a response, or what a router says about one that was sent.
#[derive(Debug, Clone)]
pub struct Datagram {
    header: Header,
    bytes: Vec<u8>,
}

impl Datagram {
    pub(crate) fn new(header: &Header, bytes: &[u8]) -> Self {
        Self {
            header: *header,
            bytes: bytes.to_vec(),
        }
    }

    /// Request, response or error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.header.kind
    }

    /// The name that it is for: of a request, the one that was called.
    #[must_use]
    pub fn name(&self) -> Option<Name<'_>> {
        self.header.destination_name(&self.bytes)
    }

    /// The name that it is from: of a response, the one that was called.
    #[must_use]
    pub fn source_name(&self) -> Option<Name<'_>> {
        self.header.source_name(&self.bytes)
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

    /// What the way says about its congestion.
    #[must_use]
    pub const fn ecn(&self) -> Ecn {
        self.header.ecn
    }

    /// What was said.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.header.payload(&self.bytes)
    }

    /// Of an error packet: why, and by whom.
    #[must_use]
    pub fn error(&self) -> Option<ErrorMessage<'_>> {
        (self.kind() == Kind::Error)
            .then(|| ErrorMessage::decode(self.payload()).ok())
            .flatten()
    }
}

/// Who a datagram is for.
#[derive(Debug, Clone, Copy)]
pub enum Towards<'a> {
    /// An instance of a name: the pinned one, or the one that the network chooses by the flow label.
    Name {
        /// The name.
        name: Name<'a>,
        /// The instance.
        pin: Option<Pin>,
    },
    /// Who called, as learnt from a request.
    Caller {
        /// The caller's name.
        caller: Name<'a>,
        /// Its gateway.
        gateway: NodeId,
        /// Its attachment there.
        attachment: AttachmentId,
        /// The name that was called: access rules then see the pair that the call was allowed for.
        called: Name<'a>,
    },
}

impl<'a> Towards<'a> {
    fn packet(self, registered: &'a Registered) -> PacketBuilder<'a> {
        let (packet, gateway, attachment) = match self {
            Self::Name { name, pin } => {
                let packet = PacketBuilder::new(Kind::Request)
                    .destination(name)
                    .source(registered.source_name.as_name());
                match pin {
                    None => (packet, NodeId::NONE, AttachmentId::ANY),
                    Some(pin) => (packet.pinned(), pin.gateway, pin.attachment),
                }
            }
            Self::Caller {
                caller,
                gateway,
                attachment,
                called,
            } => (
                PacketBuilder::new(Kind::Response)
                    .destination(caller)
                    .source(called)
                    .source_gateway(registered.gateway)
                    .source_attachment(registered.attachment),
                gateway,
                attachment,
            ),
        };
        packet
            .request_id(NOBODY_WAITS)
            .domain(registered.domain)
            .destination_gateway(gateway)
            .destination_attachment(attachment)
    }
}

/// The datagrams of a pod. Calls and requests of the pod go on beside them.
pub struct Datagrams {
    inner: Arc<Inner>,
    received: Mutex<mpsc::Receiver<Datagram>>,
    /// Where packets are built: one buffer for all of them.
    out: Mutex<Vec<u8>>,
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").finish_non_exhaustive()
    }
}

impl Datagrams {
    /// `None` when somebody has them already.
    pub(crate) fn take(inner: &Arc<Inner>) -> Option<Self> {
        let (sender, received) = mpsc::channel(QUEUE);
        inner.datagrams.set(sender).ok()?;
        Some(Self {
            inner: Arc::clone(inner),
            received: Mutex::new(received),
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

    /// The next datagram. Only the last task that asked is woken.
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Option<Datagram>> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .poll_recv(context)
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
        ecn: Ecn,
        payload: &[u8],
    ) -> io::Result<()> {
        let registered = self.registered();
        let counters = &self.inner.counters;
        let packet = towards
            .packet(&registered)
            .flow_label(flow_label)
            .ecn(ecn)
            .payload(payload);
        let length = packet.total_len();
        if length > registered.max_packet {
            count(&counters.unsendable);
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.len() < length {
            out.resize(length, 0);
        }
        let length = packet.write(&mut out).map_err(|error| {
            count(&counters.unsendable);
            io::Error::new(io::ErrorKind::InvalidInput, error)
        })?;
        let mut sent = self.inner.socket.try_send(&out[..length]);
        if is_refused(&sent) {
            // That was an earlier packet's fate.
            self.inner.session.suspect();
            sent = self.inner.socket.try_send(&out[..length]);
        }
        match sent {
            Ok(_) => count(&counters.sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                count(&counters.send_failed);
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Until the socket may take a datagram again. Any number of tasks may wait.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn writable(&self) -> io::Result<()> {
        self.inner.socket.writable().await
    }
}

fn is_refused(sent: &io::Result<usize>) -> bool {
    sent.as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether a packet is a datagram for whoever took them; it is then dealt with.
pub(crate) fn offer(inner: &Inner, header: &Header, bytes: &[u8]) -> bool {
    let Some(sender) = inner.datagrams.get() else {
        return false;
    };
    let id = match header.kind {
        // A router's answer carries the id of what it answers inside, too; the header's is the same.
        Kind::Request | Kind::Response | Kind::Error => header.request_id,
        _ => return false,
    };
    if id != NOBODY_WAITS {
        return false;
    }
    if header.kind == Kind::Error
        && ErrorMessage::decode(header.payload(bytes))
            .is_ok_and(|message| message.code == ErrorCode::SourceNotOwned)
    {
        inner.session.suspect();
    }
    let ours = header.kind != Kind::Request
        || header
            .destination_name(bytes)
            .is_some_and(|name| inner.session.registered().covers(name));
    if !ours {
        count(&inner.counters.not_served);
    } else if sender.try_send(Datagram::new(header, bytes)).is_ok() {
        count(&inner.counters.datagrams);
    } else {
        count(&inner.counters.datagrams_dropped);
    }
    true
}
