//! What becomes of a packet: an answer for who waits, a request for the handler, an echo.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use dmsc_wire::{
    AttachmentId, EchoSource, ErrorCode, ErrorMessage, Flags, Header, Kind, NameBuf, NodeId,
    PacketBuilder, Probe, RecordSlot, build_echo_reply, build_probe_answer, record,
};

use crate::call::CallError;
use crate::clock::monotonic_ns;
use crate::counters::count;
use crate::detect;
use crate::pod::Inner;
use crate::serve::Request;

/// What a response or echo reply brings.
#[derive(Debug)]
pub(crate) struct Reply {
    pub gateway: NodeId,
    pub attachment: AttachmentId,
    pub source_name: NameBuf,
    pub payload: Vec<u8>,
    pub hops: Vec<RecordSlot>,
    pub rebound: bool,
}

/// Deals with a packet that is no datagram.
pub(crate) fn packet(inner: &Arc<Inner>, header: &Header, bytes: &[u8]) {
    match header.kind {
        Kind::Response | Kind::EchoReply => answer(inner, header, bytes),
        Kind::Error => error(inner, header, bytes),
        Kind::Request => request(inner, header, bytes),
        Kind::EchoRequest => echo(inner, header, bytes),
        Kind::Probe => probe(inner, header, bytes),
        Kind::Hello => count(&inner.counters.unexpected),
    }
}

fn answer(inner: &Inner, header: &Header, bytes: &[u8]) {
    let Some(source) = header.source_name(bytes) else {
        return count(&inner.counters.malformed);
    };
    let reply = Reply {
        gateway: header.source_gateway,
        attachment: header.source_attachment,
        source_name: source.to_owned(),
        payload: header.payload(bytes).to_vec(),
        hops: record::slots(bytes, header).collect(),
        rebound: header.flags.contains(Flags::REBOUND),
    };
    finish(inner, header.request_id, Ok(reply));
}

fn error(inner: &Inner, header: &Header, bytes: &[u8]) {
    let Ok(message) = ErrorMessage::decode(header.payload(bytes)) else {
        return count(&inner.counters.malformed);
    };
    if message.code == ErrorCode::SourceNotOwned {
        inner.session.suspect();
    }
    finish(
        inner,
        message.request_id,
        Err(CallError::from_message(&message)),
    );
}

fn finish(inner: &Inner, id: dmsc_wire::RequestId, result: Result<Reply, CallError>) {
    if inner.in_flight.finish(id, result) {
        count(&inner.counters.answers);
    } else {
        count(&inner.counters.stray);
    }
}

fn echo(inner: &Inner, header: &Header, bytes: &[u8]) {
    let registered = inner.session.registered();
    if !header
        .destination_name(bytes)
        .is_some_and(|name| registered.covers(name))
    {
        return count(&inner.counters.not_served);
    }
    let own = EchoSource {
        gateway: registered.gateway,
        attachment: registered.attachment,
        name: None,
    };
    let mut out = vec![0; header.total_len()];
    match build_echo_reply(bytes, header, own, &mut out) {
        Ok(length) => {
            count(&inner.counters.echoes);
            send_now(inner, &out[..length]);
        }
        Err(_) => count(&inner.counters.unsendable),
    }
}

fn probe(inner: &Inner, header: &Header, bytes: &[u8]) {
    let arrived = monotonic_ns();
    let Ok(probe) = Probe::decode(header.payload(bytes)) else {
        return count(&inner.counters.malformed);
    };
    // An answer is never answered.
    if !probe.is_question() {
        return count(&inner.counters.unexpected);
    }
    let registered = inner.session.registered();
    let name = header.destination_name(bytes);
    let Some(name) = name.filter(|name| registered.covers(*name)) else {
        return count(&inner.counters.not_served);
    };
    let state = detect::state(inner, name);
    let probe = probe.answered(arrived, monotonic_ns(), Some(state));
    let own = EchoSource {
        gateway: registered.gateway,
        attachment: registered.attachment,
        name: None,
    };
    let mut out = vec![0; header.total_len()];
    match build_probe_answer(bytes, header, &probe, own, &mut out) {
        Ok(length) => {
            count(&inner.counters.probes);
            send_now(inner, &out[..length]);
        }
        Err(_) => count(&inner.counters.unsendable),
    }
}

fn request(inner: &Arc<Inner>, header: &Header, bytes: &[u8]) {
    let registered = inner.session.registered();
    let (Some(name), Some(source)) = (header.destination_name(bytes), header.source_name(bytes))
    else {
        return count(&inner.counters.malformed);
    };
    let Some(handler) = inner.handler.get().filter(|_| registered.covers(name)) else {
        return count(&inner.counters.not_served);
    };
    if inner.in_hand.fetch_add(1, Relaxed) >= inner.in_hand_limit {
        inner.in_hand.fetch_sub(1, Relaxed);
        return count(&inner.counters.overloaded);
    }
    count(&inner.counters.requests);
    // A handler that panics costs its own call, not the receiver: the caller times out, and it is counted.
    let called = catch_unwind(AssertUnwindSafe(|| {
        handler(Request {
            name: name.to_owned(),
            payload: header.payload(bytes).to_vec(),
            source_name: source.to_owned(),
            source_gateway: header.source_gateway,
            source_attachment: header.source_attachment,
            flow_label: header.flow_label,
            class: header.class,
            rebound: header.flags.contains(Flags::REBOUND),
        })
    }));
    let Ok(mut answering) = called else {
        inner.in_hand.fetch_sub(1, Relaxed);
        return count(&inner.counters.panicked);
    };
    // Most handlers are ready at once: they cost neither a task nor a copy of the header.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        answering
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }));
    let Ok(polled) = polled else {
        inner.in_hand.fetch_sub(1, Relaxed);
        return count(&inner.counters.panicked);
    };
    if let Poll::Ready(payload) = polled {
        inner.in_hand.fetch_sub(1, Relaxed);
        if let Some(response) = response(inner, header, bytes, &payload) {
            send_now(inner, &response);
        }
        return;
    }
    let inner = Arc::clone(inner);
    let head = bytes[..usize::from(header.header_len)].to_vec();
    let header = *header;
    tokio::spawn(async move {
        let in_hand = InHand(&inner);
        let payload = answering.await;
        drop(in_hand);
        if let Some(response) = response(&inner, &header, &head, &payload) {
            // A failure is counted there, and the caller's timeout tells it.
            let _ = inner.send(&response).await;
        }
    });
}

/// Gives the place back, also when the handler panics.
struct InHand<'a>(&'a Inner);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Relaxed);
        if std::thread::panicking() {
            count(&self.0.counters.panicked);
        }
    }
}

/// The response, under the name that was called: access rules then see the pair that the call was allowed for.
fn response(inner: &Inner, header: &Header, bytes: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let registered = inner.session.registered();
    let mut packet = PacketBuilder::reply_to(Kind::Response, bytes, header)
        .source_gateway(registered.gateway)
        .source_attachment(registered.attachment)
        .payload(payload);
    // Tells the caller that its call was placed twice.
    if header.flags.contains(Flags::REBOUND) {
        packet = packet.flag(Flags::REBOUND);
    }
    if packet.total_len() <= registered.max_packet
        && let Ok(bytes) = packet.to_vec()
    {
        return Some(bytes);
    }
    count(&inner.counters.unsendable);
    None
}

/// Sends without waiting; a full buffer drops, as a full link would.
fn send_now(inner: &Inner, bytes: &[u8]) {
    if inner
        .try_send(bytes)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    {
        count(&inner.counters.send_failed);
    }
}
