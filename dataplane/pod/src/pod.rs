//! The pod: one socket, one registration, calls out and requests in.

use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dmsc_wire::{FlowLabel, Kind, Name, NameBuf, PacketBuilder, ProbeState, RouterName};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::answer::{Answer, Pong};
use crate::call::{CallError, CallOptions};
use crate::config::PodConfig;
use crate::counters::{Counters, Counts, add};
use crate::datagram::Datagrams;
use crate::detect::Detect;
use crate::error::PodError;
use crate::health::Health;
use crate::inflight::InFlight;
use crate::offload;
use crate::proofs::Proofs;
use crate::receive::Reply;
use crate::receiver::{self, Receiver};
use crate::resolve::Resolution;
use crate::revocations::Revocations;
use crate::serve::{Handler, Request, handler};
use crate::session::{Registered, Session};
use crate::shared::{self, Outgoing, Shared};
use crate::socket::{self, Socket};
use crate::train::Trains;

/// How long to wait for the first packet to pass, and for one attempt.
pub(crate) const PROOF: Duration = Duration::from_secs(1);
pub(crate) const PROOF_STEP: Duration = Duration::from_millis(50);

/// How long the start waits for shared memory; what cannot be had by then may come later.
const ATTACHING: Duration = Duration::from_millis(200);

/// A pod. Dropping it withdraws in the background; [`Pod::close`] waits for that.
///
/// Calls and requests share one UDP socket and one receiving task. A handler is first polled on that task, so it must not
/// block; what it awaits goes on in a task of its own.
#[derive(Debug)]
pub struct Pod {
    inner: Arc<Inner>,
    receiver: JoinHandle<()>,
    /// Of shared memory, if there may be some.
    keeper: Option<JoinHandle<()>>,
}

pub(crate) struct Inner {
    pub session: Session,
    pub socket: Socket,
    pub shared: Option<Shared>,
    pub in_flight: InFlight<Result<Reply, CallError>>,
    pub handler: OnceLock<Handler>,
    pub in_hand: AtomicUsize,
    pub in_hand_limit: usize,
    pub detect: OnceLock<Detect>,
    pub counters: Counters,
    pub receiver: Receiver,
    pub trains: Trains,
    in_flight_limit: u16,
    next_flow: AtomicU32,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Pod {
    /// Opens the socket, registers, starts to keep the lease and to receive, and waits (a second at most) until packets pass.
    ///
    /// # Errors
    /// The gateway refuses, or does not answer within `config.patience`; the UDP port is taken.
    pub async fn connect(config: PodConfig) -> Result<Self, PodError> {
        Self::start(config, None).await
    }

    /// As [`Pod::connect`], answering with `handle` from the first request on.
    ///
    /// # Errors
    /// As [`Pod::connect`].
    pub async fn connect_and_serve<H, F>(config: PodConfig, handle: H) -> Result<Self, PodError>
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        Self::start(config, Some(handler(handle))).await
    }

    async fn start(config: PodConfig, handler: Option<Handler>) -> Result<Self, PodError> {
        let registrar = config.gateway.resolve().await?;
        let socket = socket::open(registrar, config.udp_port, config.socket_buffer)?;
        let local = socket.local_addr()?;
        let socket = Socket::new(socket)?;
        let receiver = Receiver::new(&socket)?;
        // Before anybody can call.
        if config.fix_offload {
            offload::fix(local.ip()).await;
        }
        let shared = config.shared.clone();
        let shared = shared.map(|shared| Shared::new(shared, local.port()));
        let (in_flight_limit, in_hand_limit) = (config.calls_in_flight, config.requests_in_hand);
        let session = Session::open(config, registrar, local.port()).await?;
        socket.connect(session.registered().data)?;
        let inner = Arc::new(Inner {
            session,
            socket,
            shared,
            in_flight: InFlight::new(in_flight_limit),
            handler: handler.map_or_else(OnceLock::new, OnceLock::from),
            in_hand: AtomicUsize::new(0),
            in_hand_limit,
            detect: OnceLock::new(),
            counters: Counters::default(),
            receiver,
            trains: Trains::default(),
            in_flight_limit,
            next_flow: AtomicU32::new(rand::random()),
        });
        let receiver = tokio::spawn(receiver::run(Arc::clone(&inner)));
        let keeps = inner.shared.is_some();
        let keeper = keeps.then(|| tokio::spawn(shared::keep(Arc::clone(&inner))));
        let pod = Self {
            inner,
            receiver,
            keeper,
        };
        if let Some(shared) = &pod.inner.shared {
            let _ = tokio::time::timeout(ATTACHING, shared.tried()).await;
        }
        pod.prove_path().await;
        Ok(pod)
    }

    /// Pings the gateway until it answers. A gateway that has just met a pod must ask for its MAC address first, and answers and calls
    /// from elsewhere would be dropped until it knows it: who is told "connected" can be reached.
    async fn prove_path(&self) {
        let gateway = RouterName::new(self.registered().gateway)
            .as_name()
            .to_owned();
        let options = CallOptions {
            timeout: PROOF_STEP,
            ..CallOptions::default()
        };
        let end = Instant::now() + PROOF;
        while Instant::now() < end {
            match self.ping(&gateway, b"", 0, &options).await {
                Err(CallError::Timeout(_)) => {}
                Err(CallError::Socket(_)) => tokio::time::sleep(PROOF_STEP).await,
                // An error packet came the same way.
                Ok(_) | Err(_) => return,
            }
        }
        warn!(%gateway, "registered, but the gateway answers no packets; its drop counters for this pod's port say why");
    }

    /// The registration as it is now.
    #[must_use]
    pub fn registered(&self) -> Arc<Registered> {
        self.inner.session.registered()
    }

    /// Largest header + payload in bytes that packets may come to have: what is registered now, or more where memory may be shared with the gateway later.
    #[must_use]
    pub fn largest_packet(&self) -> usize {
        self.inner.largest_packet()
    }

    /// Whether packets go over shared memory at the moment.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.shared.as_ref().is_some_and(Shared::is_up)
    }

    /// What became of packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.counters.read()
    }

    /// Calls `name`: a request out, and the answer of the instance that the network, or the pin, chose.
    ///
    /// # Errors
    /// No answer in time, an error packet from a router on the way, or a packet that cannot be sent.
    pub async fn call(
        &self,
        name: &NameBuf,
        payload: &[u8],
        options: &CallOptions,
    ) -> Result<Answer, CallError> {
        let (reply, round_trip) = self
            .exchange(Kind::Request, name, payload, options, 0)
            .await?;
        Ok(Answer {
            payload: reply.payload,
            gateway: reply.gateway,
            attachment: reply.attachment,
            source_name: reply.source_name,
            round_trip,
            rebound: reply.rebound,
        })
    }

    /// Pings `name`; with `record_slots` (at most 20) every router on the way there and back writes itself down.
    ///
    /// # Errors
    /// As [`Pod::call`].
    pub async fn ping(
        &self,
        name: &NameBuf,
        payload: &[u8],
        record_slots: u8,
        options: &CallOptions,
    ) -> Result<Pong, CallError> {
        let (reply, round_trip) = self
            .exchange(Kind::EchoRequest, name, payload, options, record_slots)
            .await?;
        Ok(Pong {
            gateway: reply.gateway,
            attachment: reply.attachment,
            source_name: reply.source_name,
            round_trip,
            hops: reply.hops,
        })
    }

    async fn exchange(
        &self,
        kind: Kind,
        name: &NameBuf,
        payload: &[u8],
        options: &CallOptions,
        record_slots: u8,
    ) -> Result<(Reply, Duration), CallError> {
        let inner = &*self.inner;
        let limit = inner.in_flight_limit;
        let mut waiting = inner.in_flight.start().ok_or(CallError::Busy { limit })?;
        let registered = inner.session.registered();
        // Odd steps reach every label before one comes again.
        let flow = || FlowLabel(inner.next_flow.fetch_add(0x9e37_79b1, Relaxed));
        let mut packet = PacketBuilder::new(kind)
            .destination(name.as_name())
            .source(registered.source_name.as_name())
            .domain(registered.domain)
            .flow_label(options.flow_label.unwrap_or_else(flow))
            .class(options.class)
            .request_id(waiting.id)
            .payload(payload);
        if let Some(pin) = options.pin {
            packet = packet
                .pinned()
                .destination_gateway(pin.gateway)
                .destination_attachment(pin.attachment);
        }
        if options.idempotent {
            packet = packet.idempotent();
        }
        if record_slots > 0 {
            packet = packet.record_slots(record_slots);
        }
        if packet.total_len() > registered.max_packet {
            let max = registered.max_packet;
            return Err(CallError::TooBig { max, node: None });
        }
        let bytes = packet.to_vec().map_err(CallError::TooLong)?;
        let start = Instant::now();
        inner.send(&bytes).await?;
        let reply = match tokio::time::timeout(options.timeout, &mut waiting.answer).await {
            Ok(Ok(reply)) => reply?,
            Ok(Err(_)) => return Err(CallError::Closed),
            Err(_) => return Err(CallError::Timeout(options.timeout)),
        };
        Ok((reply, start.elapsed()))
    }

    /// Answers requests under the pod's prefixes with `handle`, from now on. Pings are answered without it. The first handler stays.
    pub fn serve<H, F>(&self, handle: H)
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let _ = self.inner.handler.set(handler(handle));
    }

    /// The pod's datagrams: packets with request id 0, for a transport of its own over names, which then receives for the whole pod. `None` while somebody has
    /// them.
    #[must_use]
    pub fn datagrams(&self) -> Option<Datagrams> {
        Datagrams::take(&self.inner)
    }

    /// Answers to probes say what `detect` finds of the service with a name, from now on; without it, how many of the
    /// [`PodConfig::requests_in_hand`] are. Called for every probe on the receiving task, so it must only look. The first stays.
    pub fn detect<D>(&self, detect: D)
    where
        D: Fn(Name<'_>) -> ProbeState + Send + Sync + 'static,
    {
        let _ = self.inner.detect.set(Box::new(detect));
    }

    /// Says how the pod is, now and after every new registration.
    ///
    /// # Errors
    /// The registrar is away; it is told when it is back.
    pub async fn set_health(&self, health: Health) -> Result<(), PodError> {
        self.inner.session.set_health(health).await
    }

    /// A call of `name` was answered after so long, whose packets do not say which answers which, as those of [`Pod::datagrams`]: the gateway, which
    /// measures other calls itself, is told once a second. Cheap.
    pub fn answered(&self, name: &NameBuf, after: Duration) {
        self.inner.session.answered(name, after);
    }

    /// Instances of `name` for pinned calls, now and whenever they change.
    ///
    /// # Errors
    /// The registrar is away.
    pub async fn resolve(&self, name: &NameBuf) -> Result<Resolution, PodError> {
        self.inner.session.resolve(name).await
    }

    /// What the pod's names are proven with to those who call it: now, and whenever the gateway tells others.
    #[must_use]
    pub fn proofs(&self) -> watch::Receiver<Arc<Proofs>> {
        self.inner.session.proofs()
    }

    /// What authorities and the root took back: as the gateway told it at registration, and again when there is more, with a refresh of the lease.
    #[must_use]
    pub fn revocations(&self) -> watch::Receiver<Arc<Revocations>> {
        self.inner.session.revocations()
    }

    /// Refreshes the lease soon, for example because a proof is missing that the gateway may have by now. Cheap, and may be called at any rate.
    pub fn refresh(&self) {
        self.inner.session.suspect();
    }

    /// Withdraws: nothing is sent here any more, while what is under way goes on.
    ///
    /// # Errors
    /// As [`Pod::close`].
    pub async fn withdraw(&self) -> Result<(), PodError> {
        self.inner.session.end().await
    }

    /// Withdraws and ends; calls that wait end with [`CallError::Timeout`].
    ///
    /// # Errors
    /// The registrar is away: the lease then ends by itself.
    pub async fn close(mut self) -> Result<(), PodError> {
        self.stop();
        // Ends the tasks' hold on the pod; cancelled is what they are to be.
        let _ = (&mut self.receiver).await;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.await;
        }
        self.inner.session.end().await
    }
}

impl Pod {
    fn stop(&self) {
        self.receiver.abort();
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.stop();
        // Whatever else refers to the pod: its port is free for the next process.
        if let Some(shared) = &self.inner.shared {
            shared.down();
        }
    }
}

impl Inner {
    /// See [`Pod::largest_packet`].
    pub fn largest_packet(&self) -> usize {
        let registered = self.session.registered().max_packet;
        match &self.shared {
            Some(_) => registered.max(shared::MAX_PACKET),
            None => registered,
        }
    }

    /// Sends one packet. A gateway that is away is no error of the call: it times out, or the gateway is back in time.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), std::io::Error> {
        loop {
            match self.try_send(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                sent => return sent,
            }
        }
    }

    /// Sends one packet without waiting.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::WouldBlock`]: wait for [`Inner::writable`]; others as the socket gives them.
    pub fn try_send(&self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(sent) = self.send_shared(1, |outgoing| outgoing.push([bytes, &[]])) {
            return sent;
        }
        let sent = self.try_again(|| self.socket.try_send(bytes).map(drop));
        self.count_sent(1, sent)
    }

    /// Sends `packets` packets by shared memory, together. `None`: it is down.
    pub fn send_shared(
        &self,
        packets: u64,
        push: impl FnOnce(&mut Outgoing) -> std::io::Result<()>,
    ) -> Option<std::io::Result<()>> {
        let sent = self.shared.as_ref()?.send(push)?;
        if sent.is_ok() {
            add(&self.counters.shared_sent, packets);
        }
        Some(self.count_sent(packets, sent))
    }

    /// Until packets may be taken again. Any number of tasks may wait.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn writable(&self) -> std::io::Result<()> {
        match self.shared.as_ref().filter(|shared| shared.is_up()) {
            Some(shared) => {
                shared.writable().await;
                Ok(())
            }
            None => self.socket.writable().await,
        }
    }

    /// The kernel reports an earlier packet's "port unreachable" once, and has not sent this one.
    pub fn try_again(&self, send: impl Fn() -> std::io::Result<()>) -> std::io::Result<()> {
        let sent = send();
        if is_refused(&sent) {
            self.session.suspect();
            return send();
        }
        sent
    }

    /// Counts what became of packets; a gateway that is away loses them, as a link would.
    pub fn count_sent(&self, packets: u64, sent: std::io::Result<()>) -> std::io::Result<()> {
        let counters = &self.counters;
        match &sent {
            Ok(()) => add(&counters.sent, packets),
            // Tried again.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => add(&counters.send_failed, packets),
        }
        if is_refused(&sent) { Ok(()) } else { sent }
    }
}

fn is_refused(sent: &std::io::Result<()>) -> bool {
    sent.as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}
