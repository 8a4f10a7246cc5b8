//! A registration and the task that keeps it: refreshes the lease, registers again when it is lost, waits while the registrar is away.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_wire::{AttachmentId, Domain, Name, NameBuf, NodeId};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::answers::{self, Answers};
use crate::config::PodConfig;
use crate::credentials::Credentials;
use crate::error::PodError;
use crate::health::Health;
use crate::proofs::Proofs;
use crate::registrar::{Registrar, Told};
use crate::revocations::Revocations;
use crate::shared;

/// Between attempts while the registrar is away.
const AWAY: Duration = Duration::from_secs(1);
/// Between attempts at the start, when somebody waits for it.
const EAGER: Duration = Duration::from_millis(100);
/// At least between two checks that the data path asked for.
const SUSPICION: Duration = Duration::from_secs(1);

/// The secret between a pod and its registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseId(pub u64);

/// Where a pod is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the address from which it registers: its UDP socket.
    Socket,
    /// On a port that it names.
    Shared {
        /// The gateway's name of it.
        port: String,
        /// The pod's address there.
        address: Ipv4Addr,
    },
}

impl Place {
    /// Port and address as a registration names them.
    pub(crate) fn named(&self) -> (String, String) {
        match self {
            Self::Socket => Default::default(),
            Self::Shared { port, address } => (port.clone(), address.to_string()),
        }
    }
}

/// A prefix that the gateway did not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The prefix.
    pub name: NameBuf,
    /// Why, as a sentence.
    pub reason: String,
}

/// What the gateway said at registration.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The lease.
    pub lease: LeaseId,
    /// How often it is to be refreshed.
    pub refresh: Duration,
    /// The gateway's node id.
    pub gateway: NodeId,
    /// The endpoint's id at it.
    pub attachment: AttachmentId,
    /// The pod's tenant.
    pub domain: Domain,
    /// The pod's name under its identity.
    pub source_name: NameBuf,
    /// Where packets of the UDP socket go.
    pub data: SocketAddr,
    /// The gateway's address on the port of shared memory, if the pod is attached there.
    pub shared: Option<IpAddr>,
    /// Largest header + payload in bytes on the pod's link.
    pub max_packet: usize,
    /// Prefixes that were accepted.
    pub serves: Arc<HashSet<NameBuf>>,
    /// Prefixes that were not.
    pub refused: Arc<[Refused]>,
    /// Of those that were accepted: not announced yet, because no authority answers the gateway at the moment. It goes on asking, and nothing
    /// needs to be done here.
    pub waiting: Arc<[Refused]>,
}

impl Registered {
    /// Whether the pod may answer under `name`.
    #[must_use]
    pub fn covers(&self, name: Name<'_>) -> bool {
        name == self.source_name.as_name()
            || (1..=name.component_count())
                .any(|depth| self.serves.contains(name.prefix(depth).as_bytes()))
    }
}

/// Where the pod is attached.
#[derive(Debug)]
struct Held {
    place: Place,
    /// Not while nobody knows what became of a move: no answer may mean that the gateway has made it.
    is_sure: bool,
}

#[derive(Debug)]
struct Shared {
    config: PodConfig,
    registrar: SocketAddr,
    udp_port: u16,
    registered: watch::Sender<Arc<Registered>>,
    /// Held over a registration, so that there is one at a time.
    place: AsyncMutex<Held>,
    /// What holds of the UDP socket: where packets go, and the largest.
    socket: Mutex<(SocketAddr, usize)>,
    proofs: watch::Sender<Arc<Proofs>>,
    revocations: watch::Sender<Arc<Revocations>>,
    health: watch::Sender<Health>,
    credentials: watch::Sender<Option<Credentials>>,
    suspect: Notify,
    answers: Answers,
}

impl Shared {
    fn connection(&self) -> Registrar {
        Registrar::new(
            self.config.gateway.clone(),
            self.registrar,
            self.credentials.borrow().clone(),
        )
    }

    /// Certificates are renewed while the pod runs. Files that cannot be used leave it with what it has.
    fn reload_credentials(&self) {
        match load(&self.config) {
            Ok(credentials) => drop(self.credentials.send_replace(credentials)),
            Err(error) => warn!(%error, "the credentials were not read again"),
        }
    }

    fn lease(&self) -> LeaseId {
        self.registered.borrow().lease
    }

    /// Registers at `place`. What is known of the socket is kept, or learnt.
    async fn register(
        &self,
        connection: &mut Registrar,
        place: &Place,
        lease: Option<LeaseId>,
    ) -> Result<Registered, PodError> {
        let (config, port) = (&self.config, self.udp_port);
        let (mut registered, told) = connection.register(config, port, place, lease).await?;
        self.keep(told);
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Place::Socket => *socket = (registered.data, registered.max_packet),
            Place::Shared { .. } => {
                registered.data = socket.0;
                registered.max_packet = registered.max_packet.min(shared::MAX_PACKET);
            }
        }
        Ok(registered)
    }

    fn keep(&self, told: Told) {
        if let Some(proofs) = told.proofs {
            self.keep_proofs(proofs);
        }
        if let Some(revocations) = told.revocations {
            self.revocations.send_if_modified(|kept| {
                let news = **kept != revocations;
                if news {
                    *kept = Arc::new(revocations);
                }
                news
            });
        }
    }

    /// Told on only if they are others.
    fn keep_proofs(&self, proofs: Proofs) {
        self.proofs.send_if_modified(|kept| {
            let news = **kept != proofs;
            if news {
                debug!(
                    version = proofs.version,
                    count = proofs.authorisations.len(),
                    "authorisations"
                );
                *kept = Arc::new(proofs);
            }
            news
        });
    }
}

/// A live registration of one UDP port. Dropping it withdraws in the background; [`Session::close`] waits for that.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
    runtime: Handle,
    closed: AtomicBool,
}

impl Session {
    /// Registers `udp_port` at `registrar` and starts to keep the lease.
    ///
    /// # Errors
    /// Refused, away for longer than the configuration's patience, or without usable credentials.
    pub async fn open(
        config: PodConfig,
        registrar: SocketAddr,
        udp_port: u16,
    ) -> Result<Self, PodError> {
        let patience = Instant::now() + config.patience;
        let credentials = load(&config)?;
        let (registered, told) = loop {
            let gateway = config.gateway.clone();
            let mut connection = Registrar::new(gateway, registrar, credentials.clone());
            let registering = connection.register(&config, udp_port, &Place::Socket, None);
            match registering.await {
                Err(error) if error.is_temporary() && Instant::now() + EAGER < patience => {
                    tokio::time::sleep(EAGER).await;
                }
                other => break other?,
            }
        };
        debug!(gateway = %registered.gateway, attachment = %registered.attachment, "registered");
        tell_waiting(&registered, None);
        let socket = (registered.data, registered.max_packet);
        let shared = Arc::new(Shared {
            place: AsyncMutex::new(Held {
                place: Place::Socket,
                is_sure: true,
            }),
            socket: Mutex::new(socket),
            config,
            registrar,
            udp_port,
            registered: watch::Sender::new(Arc::new(registered)),
            proofs: watch::Sender::new(Arc::new(told.proofs.unwrap_or_default())),
            revocations: watch::Sender::new(Arc::new(told.revocations.unwrap_or_default())),
            health: watch::Sender::new(Health::Serving),
            credentials: watch::Sender::new(credentials),
            suspect: Notify::new(),
            answers: Answers::default(),
        });
        Ok(Self {
            keeper: tokio::spawn(keep(Arc::clone(&shared))),
            shared,
            runtime: Handle::current(),
            closed: AtomicBool::new(false),
        })
    }

    /// The registration as it is now.
    #[must_use]
    pub fn registered(&self) -> Arc<Registered> {
        Arc::clone(&self.shared.registered.borrow())
    }

    /// Whether the gateway surely sends to the socket.
    pub(crate) async fn is_at_socket(&self) -> bool {
        let held = self.shared.place.lock().await;
        held.place == Place::Socket && held.is_sure
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Moves the lease to `place`, its attachment kept; a lease that is not known any more is replaced. Not what [`Session::registered`] tells until it is
    /// published.
    pub(crate) async fn move_to(&self, place: Place) -> Result<Registered, PodError> {
        let mut held = self.shared.place.lock().await;
        // One that has ended must not come back.
        if self.is_closed() {
            return Err(PodError::NoLease);
        }
        let mut connection = self.shared.connection();
        let lease = Some(self.shared.lease());
        let was_sure = std::mem::replace(&mut held.is_sure, false);
        let moved = self.shared.register(&mut connection, &place, lease).await;
        if matches!(moved, Err(PodError::Refused { .. } | PodError::NoLease)) {
            held.is_sure = was_sure;
        }
        let registered = match moved {
            // Where it is the gateway may know it by, and keeps the attachment; from there it moves.
            Err(PodError::NoLease) => {
                let anew = self.shared.register(&mut connection, &held.place, None);
                let anew = anew.await?;
                if held.place == place {
                    anew
                } else {
                    let lease = Some(anew.lease);
                    let moved = self.shared.register(&mut connection, &place, lease);
                    moved.await?
                }
            }
            other => other?,
        };
        debug!(attachment = %registered.attachment, ?place, "moved");
        *held = Held {
            place,
            is_sure: true,
        };
        Ok(registered)
    }

    pub(crate) fn publish(&self, registered: Registered) {
        self.shared.registered.send_replace(Arc::new(registered));
    }

    /// Packets go by the socket from now on, and must fit it.
    pub(crate) fn narrow(&self) {
        let (_, max_packet) = *self
            .shared
            .socket
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.shared.registered.send_if_modified(|registered| {
            let was_shared = registered.shared.is_some();
            if was_shared {
                *registered = Arc::new(Registered {
                    shared: None,
                    max_packet,
                    ..Registered::clone(registered)
                });
            }
            was_shared
        });
    }

    /// Told when the registration changes, for example to another attachment.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Registered>> {
        self.shared.registered.subscribe()
    }

    /// What the pod's names are proven with: now, and whenever the gateway tells others, with a refresh of the lease.
    #[must_use]
    pub fn proofs(&self) -> watch::Receiver<Arc<Proofs>> {
        self.shared.proofs.subscribe()
    }

    /// What authorities and the root took back: now, and whenever the gateway tells more, with a refresh of the lease.
    #[must_use]
    pub fn revocations(&self) -> watch::Receiver<Arc<Revocations>> {
        self.shared.revocations.subscribe()
    }

    /// The data path saw something that a lost registration would explain: check it soon. Cheap, and may be called at any rate.
    pub fn suspect(&self) {
        self.shared.suspect.notify_one();
    }

    /// What the pod said last of how it is.
    #[must_use]
    pub fn health(&self) -> Health {
        *self.shared.health.borrow()
    }

    /// Says how the pod is.
    ///
    /// # Errors
    /// Away; it is told again with the next registration.
    pub async fn set_health(&self, health: Health) -> Result<(), PodError> {
        self.shared.health.send_replace(health);
        let told = self
            .shared
            .connection()
            .health(self.shared.lease(), health)
            .await;
        self.suspect_if_forgotten(&told);
        told
    }

    /// A call of `name` was answered after so long: the gateway is told once a second.
    pub fn answered(&self, name: &NameBuf, after: Duration) {
        self.shared.answers.note(name, after);
    }

    /// A control plane that was restarted has other leases: whoever hears of it first need not wait for the next refresh.
    fn suspect_if_forgotten<T>(&self, told: &Result<T, PodError>) {
        if matches!(told, Err(PodError::NoLease)) {
            self.suspect();
        }
    }

    /// Instances of `name`.
    ///
    /// # Errors
    /// Away, or no lease at the moment.
    pub async fn resolve(&self, name: &NameBuf) -> Result<crate::Resolution, PodError> {
        let stream = self
            .shared
            .connection()
            .resolve(self.shared.lease(), name)
            .await;
        self.suspect_if_forgotten(&stream);
        Ok(crate::Resolution::new(
            self.shared.config.gateway.clone(),
            stream?,
        ))
    }

    /// Withdraws and ends.
    ///
    /// # Errors
    /// Away: the lease then ends by itself.
    pub async fn close(self) -> Result<(), PodError> {
        self.end().await
    }

    /// As [`Session::close`], for one that others still refer to.
    ///
    /// # Errors
    /// Away: the lease then ends by itself.
    pub async fn end(&self) -> Result<(), PodError> {
        self.closed.store(true, Relaxed);
        self.keeper.abort();
        match leave(&self.shared).await {
            // Gone already is what was wanted.
            Err(PodError::NoLease) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
        if !self.closed.load(Relaxed) {
            let shared = Arc::clone(&self.shared);
            // If the runtime is ending too, the lease ends by itself after its time.
            self.runtime.spawn(async move {
                let _ = leave(&shared).await;
            });
        }
    }
}

fn load(config: &PodConfig) -> Result<Option<Credentials>, PodError> {
    let folder = config.credentials.as_deref();
    Ok(folder.map(Credentials::load).transpose()?)
}

/// Once, not with every registration that says the same.
fn tell_waiting(registered: &Registered, before: Option<&Registered>) {
    let Some(first) = registered.waiting.first() else {
        return;
    };
    if before.is_none_or(|before| before.waiting != registered.waiting) {
        info!(
            count = registered.waiting.len(), first = %first.name, reason = first.reason,
            "prefixes are announced later; the gateway goes on asking"
        );
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut connection = shared.connection();
    let mut away = false;
    let mut proved = Instant::now();
    let mut refreshed = Instant::now();
    loop {
        if away {
            tokio::time::sleep(AWAY).await;
        } else {
            let refresh = shared.registered.borrow().refresh;
            let next = refreshed + refresh.min(shared.config.proof_interval);
            tokio::select! {
                // The lease comes first.
                biased;
                () = tokio::time::sleep_until(next.into()) => {}
                () = shared.suspect.notified() => {}
                () = shared.answers.due() => {
                    tell(&shared, &mut connection).await;
                    continue;
                }
            }
        }
        refreshed = Instant::now();
        let stale =
            shared.config.credentials.is_some() && proved.elapsed() >= shared.config.proof_interval;
        let mut result = if stale {
            shared.reload_credentials();
            connection = shared.connection();
            Err(PodError::NoLease)
        } else {
            let proofs = shared.proofs.borrow().version;
            let versions = [proofs, shared.revocations.borrow().version];
            let refreshed = connection.refresh(shared.lease(), versions).await;
            refreshed.map(|told| shared.keep(told))
        };
        if matches!(result, Err(PodError::NoLease)) {
            result = register_again(&shared, &mut connection).await;
            if result.is_ok() {
                proved = Instant::now();
            }
        }
        match result {
            Ok(()) => {
                if away {
                    info!("registrar is back");
                }
                away = false;
            }
            Err(error) => {
                if !away {
                    warn!(%error, "registration not refreshed; packets still flow");
                }
                away = true;
                // A connection whose other end vanished would be tried for minutes.
                connection = shared.connection();
                continue;
            }
        }
        tokio::time::sleep(SUSPICION.min(shared.config.proof_interval)).await;
    }
}

/// Tells the gateway how long calls took. What it may have heard is not told again: for a measurement, some missing is better than some counted twice.
async fn tell(shared: &Shared, connection: &mut Registrar) {
    let calls = shared.answers.take();
    let told = connection.answered(shared.lease(), answers::to_proto(&calls));
    match told.await {
        Ok(()) => {}
        Err(PodError::NoLease) => {
            shared.answers.put_back(calls);
            shared.suspect.notify_one();
        }
        // Also a gateway of before there was this, whose dataplane is away, or that wants to hear it less often.
        Err(error) => debug!(%error, "answers are not told"),
    }
}

/// The last that a session says: how long calls took, if some are not told, and that it ends.
async fn leave(shared: &Shared) -> Result<(), PodError> {
    let mut connection = shared.connection();
    if !shared.answers.is_empty() {
        tell(shared, &mut connection).await;
    }
    connection.withdraw(shared.lease()).await
}

async fn register_again(shared: &Shared, connection: &mut Registrar) -> Result<(), PodError> {
    let mut held = shared.place.lock().await;
    let registered = match shared.register(connection, &held.place, None).await {
        // The port is not the pod's any more: whoever keeps it is told by what is published.
        Err(PodError::Refused { reason, .. }) if held.place != Place::Socket => {
            warn!(reason, "not registered on shared memory again");
            held.place = Place::Socket;
            shared.register(connection, &held.place, None).await?
        }
        other => other?,
    };
    drop(held);
    info!(gateway = %registered.gateway, attachment = %registered.attachment, "registered again");
    let lease = registered.lease;
    tell_waiting(&registered, Some(&shared.registered.borrow()));
    shared.registered.send_replace(Arc::new(registered));
    let health = *shared.health.borrow();
    if health != Health::Serving {
        connection.health(lease, health).await?;
    }
    Ok(())
}
