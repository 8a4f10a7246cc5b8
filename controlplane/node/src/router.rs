//! The life of `sg` and `sr`: take the dataplane as it is, talk to neighbours, program what they say; start over when the dataplane does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use dmsc_daemon::process::{NotifyState, more_files, notify};
use dmsc_linkstate::AdjacencyId;
use dmsc_proto::v1::{self, event::Event as What};
use dmsc_spa::credentials::Credentials;
use dmsc_wire::AttachmentId;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::StreamExt;
use tonic::transport::Server;
use tracing::{error, info, warn};

use crate::accept::{incoming, incoming_neighbours};
use crate::agent::{Agent, AgentError};
use crate::authority::{Authorities, follow};
use crate::bodies::{Bounded, May, WINDOW};
use crate::clock::wall_ms;
use crate::config::{Config, GatewaySection, Role};
use crate::driver::{drive, program, until};
use crate::figures::measure;
use crate::guests::Guests;
use crate::handle::Handle;
use crate::keeper::keep;
use crate::node::Node;
use crate::operator;
use crate::operator::caller;
use crate::operator::gate::Gate;
use crate::peer::{NeighbourService, dialler};
use crate::pods::Pods;
use crate::probe::probe;
use crate::registrar::{AuthenticGateway, MAX_CALLS, PodRegistrar, pod};
use crate::scheduling::schedule;
use crate::status::{Extra, StatusFile};
use crate::tls::Tls;

/// Between attempts to reach an agent that is away.
const AWAY: Duration = Duration::from_millis(50);
/// Between attempts to program an agent that refuses.
const REFUSED: Duration = Duration::from_secs(5);
/// Between looks for a change that nobody told.
const LOOK: Duration = Duration::from_millis(500);
/// A dataplane that is away for longer does not forward: its links are down. An upgrade of the dataplane takes less.
const GONE: Duration = Duration::from_secs(3);

/// What to run with.
#[derive(Debug, Clone)]
pub struct RouterOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// Gateway or router.
    pub role: Role,
    /// Where to tell what became of the routes.
    pub status: Option<PathBuf>,
}

/// Why the dataplane is not programmed.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(
        "the dataplane on {socket} is node {node} ({role}), this control plane is for node {expected} ({expected_role}); correct [node] id, or give its own socket in [node] agent"
    )]
    OtherNode {
        socket: String,
        node: u32,
        role: String,
        expected: u32,
        expected_role: &'static str,
    },
    #[error("this control plane is ending")]
    Ending,
}

/// Why the dataplane is attended no more.
enum End {
    /// The process is to end.
    Terminate,
    /// The dataplane is away; connect again.
    Lost,
    /// Connect again after a pause.
    Again(Duration),
}

struct Router {
    handle: Handle,
    config: Arc<Config>,
    options: RouterOptions,
    tls: Tls,
    credentials: Credentials,
    last_setback: String,
    stop: Arc<Notify>,
    /// Since when the dataplane is away.
    lost: Option<Instant>,
    /// That it is away is told already.
    gone: bool,
    serving: bool,
    setbacks: mpsc::Receiver<AgentError>,
    signals: Signals,
    gate: Arc<Gate>,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Runs until SIGTERM or SIGINT; the dataplane goes on forwarding.
///
/// # Errors
/// A configuration with mistakes, credentials or state of no use, an address that cannot be listened on.
pub async fn run(options: RouterOptions) -> anyhow::Result<()> {
    // Signals first, so that one sent early is not lost.
    let signals = Signals {
        hangup: signal(SignalKind::hangup())?,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    more_files();
    let status = StatusFile::new(options.status.clone());
    let config =
        Config::load(&options.config, options.role).inspect_err(|error| status.failed(error))?;
    let folder = config.node.credentials.clone();
    let credentials = Credentials::load(&folder)
        .context("credentials")
        .inspect_err(|error| status.failed(error))?;
    let tls = Tls::new(&credentials);
    let pods = Arc::new(Pods::default());
    let node = Node::new(config, &credentials, Arc::clone(&pods))
        .inspect_err(|error| status.failed(error))?;
    let config = Arc::clone(&node.config);
    let told = Arc::clone(&node.signals.status);
    let stop = Arc::clone(&node.signals.stop);
    let (handle, jobs) = Handle::new(pods);
    tokio::spawn(drive(node, jobs));
    // Before the dataplane answers: people may want to know why it does not.
    let gate = operator::start(&handle, &config, &credentials)
        .await
        .inspect_err(|error| status.failed(error))?
        .gate;
    let (setback, setbacks) = mpsc::channel(1);
    tokio::spawn(program(handle.clone(), setback));
    tokio::spawn(expire(handle.clone()));
    tokio::spawn(tell(handle.clone(), status, told));
    let router = Router {
        handle,
        config,
        options,
        tls,
        credentials,
        last_setback: String::new(),
        stop,
        lost: None,
        gone: false,
        serving: false,
        setbacks,
        signals,
        gate,
    };
    let ended = router.run().await;
    notify(&[NotifyState::Stopping]);
    ended
}

/// Writes the status file whenever something it tells may have changed; looks for another digest now and then.
async fn tell(handle: Handle, mut file: StatusFile, told: Arc<Notify>) {
    let mut last = None;
    loop {
        let order = tokio::select! {
            () = told.notified() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = handle.query(|node| {
            let extra = Extra {
                state: node.state(),
                digest: format!("{:016x}", node.engine.digest().fold()),
                version: node.rib.acknowledged(),
            };
            let error = node.setback.clone().or_else(|| node.mistake.clone());
            (error, node.generation, node.boot_nonce, extra)
        });
        let Some(now) = now.await else {
            return;
        };
        if !order && last.as_ref() == Some(&now) {
            continue;
        }
        let (error, generation, boot_nonce, extra) = now.clone();
        let text = format!("{}, routes version {}", extra.state, extra.version);
        if last.as_ref().is_none_or(|last| last.3.state != extra.state) {
            notify(&[NotifyState::Status(&text)]);
        }
        last = Some(now);
        match error {
            None => file.applied_with(generation, boot_nonce, extra),
            Some(error) => file.failed_with(&error, extra),
        }
    }
}

/// Ends leases in time while the dataplane is there. A task of its own: it waits for the dataplane, and events are not to wait for it.
async fn expire(handle: Handle) {
    let pods = Arc::clone(handle.pods());
    let mut changed = pods.changed.subscribe();
    loop {
        let again = pods.detach_ended().await;
        let expiry = pods.leases().next_expiry();
        tokio::select! {
            () = until(again) => {}
            () = until(expiry) => {
                if !pods.expire_if_there().await {
                    // Told when it is back.
                    if changed.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                if handle.query(|node| node.sync_leases(wall_ms())).await.is_none() {
                    return;
                }
            }
            // Leases may end at another time now.
            told = changed.changed() => if told.is_err() {
                return;
            }
        }
    }
}

impl Router {
    async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let pause = match self.connect().await {
                Ok(events) => {
                    self.lost = None;
                    self.gone = false;
                    if !self.serving {
                        self.serve().await?;
                    }
                    match self.attend(events).await {
                        End::Terminate => return Ok(()),
                        End::Lost => {
                            self.lost = Some(Instant::now());
                            Duration::ZERO
                        }
                        End::Again(pause) => pause,
                    }
                }
                Err(Setback::Ending) => return Ok(()),
                Err(setback) => {
                    // One that refuses is there; its links are as they were.
                    if matches!(&setback, Setback::Agent(error) if !error.is_refusal()) {
                        self.lost.get_or_insert_with(Instant::now);
                    }
                    self.report(&setback).await
                }
            };
            let lost = self.lost.filter(|_| !self.gone);
            let gone = lost.map(|lost| lost + GONE);
            tokio::select! {
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
                () = self.stop.notified() => return Ok(()),
                _ = self.signals.hangup.recv() => self.reload().await,
                () = until(gone) => {
                    self.gone = true;
                    warn!("the dataplane is gone: all adjacencies are down");
                    self.handle.query(|node| {
                        for id in node.links.keys().copied().collect::<Vec<_>>() {
                            node.hello(id, false);
                        }
                    }).await;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells a setback once, not at every attempt; gives the pause before the next.
    async fn report(&mut self, setback: &Setback) -> Duration {
        let text = setback.to_string();
        if text != self.last_setback {
            warn!("not programmed: {text}");
            self.last_setback.clone_from(&text);
            self.handle
                .query(|node| {
                    node.setback = Some(text);
                    node.signals.status.notify_one();
                })
                .await;
        }
        match setback {
            Setback::Agent(error) if !error.is_refusal() => AWAY,
            _ => REFUSED,
        }
    }

    async fn connect(&mut self) -> Result<tonic::Streaming<v1::Event>, Setback> {
        let mut agent = Agent::connect(&self.config.node.agent).await?;
        let greeting = agent.greeting().clone();
        if greeting.node != self.config.node.id.0 || greeting.role != self.config.role.as_str() {
            return Err(Setback::OtherNode {
                socket: self.config.node.agent.display().to_string(),
                node: greeting.node,
                role: greeting.role,
                expected: self.config.node.id.0,
                expected_role: self.config.role.as_str(),
            });
        }
        // Before the dump, so that no change falls between the two.
        let events = agent.watch().await?;
        let pods = Arc::clone(self.handle.pods());
        let handle = self.handle.clone();
        let plan = async |dump: &v1::DumpReply| {
            let dump = dump.clone();
            handle
                .query(move |node| node.dataplane_found(&dump))
                .await
                .ok_or(Setback::Ending)
        };
        let (generation, dump, most) = pods.adopt_most(agent, plan).await?;
        self.last_setback.clear();
        self.handle
            .query(move |node| {
                // What pods serve is known before any neighbour speaks.
                node.sync_leases(wall_ms());
                node.dataplane_ready(greeting.boot_nonce, generation, &dump, &most);
            })
            .await;
        Ok(events)
    }

    /// Opens the doors, once the dataplane is known.
    async fn serve(&mut self) -> anyhow::Result<()> {
        let root = self.credentials.root_key()?;
        let listen = self.config.linkstate.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "[linkstate] listen {listen}: cannot listen; is another control plane running here?"
            )
        })?;
        info!(address = %listener.local_addr()?, "link state ready");
        let service = NeighbourService::service(self.handle.clone(), root);
        let server = Server::builder()
            .tls_config(self.tls.server())?
            .max_concurrent_streams(4)
            .add_service(service)
            .serve_with_incoming(incoming_neighbours(listener, self.handle.clone()));
        tokio::spawn(async move {
            if let Err(error) = server.await {
                error!(%error, "link state ended");
            }
        });
        if let Some(gateway) = self.config.gateway.clone() {
            self.serve_pods(&gateway).await?;
        }
        tokio::spawn(dialler(self.handle.clone(), self.tls.clone()));
        tokio::spawn(measure(self.handle.clone()));
        self.serving = true;
        notify(&[NotifyState::Ready]);
        Ok(())
    }

    /// Where pods register.
    async fn serve_pods(&self, gateway: &GatewaySection) -> anyhow::Result<()> {
        let (own, listen) = (self.config.node.id, gateway.listen);
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "[gateway] listen {listen}: cannot listen; is another control plane running here?"
            )
        })?;
        info!(address = %listener.local_addr()?, "registrar ready");
        let authorities = Authorities::new(own, &gateway.authorities, &self.tls)?;
        let (authorities, follower) = watch::channel(Arc::new(authorities));
        let registrar = AuthenticGateway::new(
            self.handle.clone(),
            own,
            self.credentials.root_key()?,
            follower.clone(),
        );
        let root = self.credentials.root_key()?;
        let revoked = self.handle.query(|node| node.signals.revoked.subscribe());
        let guests = Guests::default();
        if let Some(revoked) = revoked.await {
            tokio::spawn(guests.clone().watch(root.clone(), revoked));
        }
        let incoming = incoming(listener, guests.clone());
        let pods_only: May = Arc::new(move |request| {
            pod(request, &root)?;
            guests.greet(request, &root);
            Ok(())
        });
        let service = PodRegistrar::service(Arc::new(registrar));
        let server = Server::builder()
            .tls_config(self.tls.server())?
            .max_concurrent_streams(MAX_CALLS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .add_service(Bounded::new(service, pods_only))
            .serve_with_incoming(incoming);
        tokio::spawn(async move {
            if let Err(error) = server.await {
                error!(%error, "registrar ended");
            }
        });
        tokio::spawn(follow(self.handle.clone(), follower));
        tokio::spawn(keep(self.handle.clone(), self.tls.clone(), authorities));
        tokio::spawn(probe(self.handle.clone()));
        let root = self.credentials.root_key()?;
        tokio::spawn(schedule(self.handle.clone(), self.tls.clone(), root));
        Ok(())
    }

    /// While the dataplane is there.
    async fn attend(&mut self, mut events: tonic::Streaming<v1::Event>) -> End {
        let pods = Arc::clone(self.handle.pods());
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => return End::Terminate,
                _ = self.signals.interrupt.recv() => return End::Terminate,
                () = self.stop.notified() => return End::Terminate,
                _ = self.signals.hangup.recv() => self.reload().await,
                Some(error) = self.setbacks.recv() => {
                    return End::Again(self.report(&Setback::Agent(error)).await);
                }
                event = events.next() => match event {
                    Some(Ok(event)) => self.event(event).await,
                    other => {
                        let why = match other {
                            Some(Err(status)) => status.message().to_owned(),
                            _ => "it ended".to_owned(),
                        };
                        warn!(why, "dataplane lost");
                        *pods.dataplane.lock().await = None;
                        return End::Lost;
                    }
                },
            }
        }
    }

    async fn event(&self, event: v1::Event) {
        match event.event {
            Some(What::Attachment(attachment)) => {
                let id = AttachmentId(u16::try_from(attachment.id).unwrap_or(0));
                let reachable = attachment.state != "unreachable";
                let pods = self.handle.pods();
                if pods.leases().set_reachable(id, reachable) {
                    info!(attachment = %id, identity = attachment.identity, state = attachment.state, "attachment");
                    pods.change();
                    self.handle.query(|node| node.sync_leases(wall_ms())).await;
                }
            }
            Some(What::Adjacency(adjacency)) => {
                if let Ok(id) = u16::try_from(adjacency.id) {
                    let up = adjacency.state == "up";
                    self.handle
                        .query(move |node| node.hello(AdjacencyId(id), up))
                        .await;
                }
            }
            Some(What::Port(port)) => info!(port = port.name, carrier = port.carrier, "port"),
            Some(What::Generation(generation)) => {
                self.handle
                    .query(move |node| node.generation = node.generation.max(generation))
                    .await;
            }
            None => {}
        }
    }

    /// Reads the configuration again; with a mistake everything stays as it was.
    async fn reload(&mut self) {
        let loaded = Config::load(&self.options.config, self.options.role);
        let applied = match loaded {
            Ok(config) => self
                .handle
                .apply_config(config)
                .await
                .map_err(|error| error.to_string()),
            Err(mistakes) => Err(mistakes.to_string()),
        };
        self.record(&applied).await;
        match &applied {
            Ok(diff) => info!(changes = diff.join("; "), "configuration read again"),
            Err(error) => {
                error!("configuration not read again, everything stays as it was: {error}");
            }
        }
        let mistake = applied.err();
        self.handle
            .query(|node| {
                // A policy may have changed as well, and a root revocation may have been put into the state directory.
                node.load_root_revocations();
                node.ask_again = mistake.is_none();
                node.mistake = mistake;
                node.signals.claimed.notify_one();
                node.signals.status.notify_one();
            })
            .await;
    }
}

impl Router {
    /// A reload by signal is a change like any other.
    async fn record(&self, applied: &Result<Vec<String>, String>) {
        let caller = caller::signal("SIGHUP");
        let (what, outcome) = match applied {
            Ok(diff) => (diff.join("\n"), Ok(())),
            Err(error) => (
                self.options.config.display().to_string(),
                Err(tonic::Status::invalid_argument(error.as_str())),
            ),
        };
        let generation = self.handle.query(|node| node.generation).await;
        let generation = generation.unwrap_or(0);
        self.gate
            .record(&caller, "Reload", what, &outcome, generation);
    }
}
