//! The life of `static`: connect, reconcile, watch; reload on SIGHUP; start over when the dataplane does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use dmsc_proto::v1::{self, event::Event as What};
use dmsc_wire::AttachmentId;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tracing::{error, info, warn};

use crate::agent::{Agent, AgentError};
use crate::registrar::{PodRegistrar, StaticGateway};
use crate::routes::{Routes, RoutesError, Tables};
use crate::state::State;
use crate::status::StatusFile;

/// Between attempts to reach an agent that is away.
const AWAY: Duration = Duration::from_millis(200);
/// Between attempts to program an agent that refuses.
const REFUSED: Duration = Duration::from_secs(5);

/// What to run with.
#[derive(Debug, Clone)]
pub struct StaticOptions {
    /// The routes file.
    pub routes: PathBuf,
    /// Socket of the dataplane's agent.
    pub agent: PathBuf,
    /// Where pods register, if the dataplane is a gateway.
    pub listen: SocketAddr,
    /// Where to tell what became of the routes.
    pub status: Option<PathBuf>,
}

/// Why the dataplane is not programmed.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Routes(#[from] RoutesError),
}

/// Why a wait ended.
enum Wake {
    Terminate,
    Reload,
    Retry,
}

struct Supervisor {
    options: StaticOptions,
    state: Arc<State>,
    status: StatusFile,
    /// Tables that this process programmed last, into any boot of the dataplane.
    programmed: Option<Tables>,
    last_setback: String,
    registrar: bool,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Runs until SIGTERM or SIGINT; the dataplane stays programmed.
///
/// # Errors
/// A routes file with a mistake at the start, or an address that cannot be listened on.
pub async fn run(options: StaticOptions) -> anyhow::Result<()> {
    let status = StatusFile::new(options.status.clone());
    // Signals first, so that one sent early is not lost.
    let (hangup, terminate, interrupt) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let routes = Routes::load(&options.routes).inspect_err(|error| status.failed(error))?;
    let supervisor = Supervisor {
        options,
        state: Arc::new(State::new(routes)),
        status,
        programmed: None,
        last_setback: String::new(),
        registrar: false,
        hangup,
        terminate,
        interrupt,
    };
    supervisor.run().await
}

impl Supervisor {
    async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let pause = match self.program().await {
                Ok((agent, events)) => {
                    if !self.registrar && agent.greeting().role == "sg" {
                        self.serve().await?;
                    }
                    if self.attend(events, agent.greeting().boot_nonce).await {
                        return Ok(());
                    }
                    Duration::ZERO
                }
                Err(setback) => self.report(&setback),
            };
            match self.wait(pause).await {
                Wake::Terminate => return Ok(()),
                Wake::Reload => self.reload(None).await,
                Wake::Retry => {}
            }
        }
    }

    /// Tells a setback once, not at every attempt; gives the pause before the next.
    fn report(&mut self, setback: &Setback) -> Duration {
        let refused = match setback {
            Setback::Agent(error) => error.is_refusal(),
            Setback::Routes(_) => true,
        };
        let text = setback.to_string();
        if text != self.last_setback {
            warn!("not programmed: {text}");
            self.status.failed(setback);
            self.last_setback = text;
        }
        if refused { REFUSED } else { AWAY }
    }

    async fn program(&mut self) -> Result<(Agent, tonic::Streaming<v1::Event>), Setback> {
        let mut agent = Agent::connect(&self.options.agent).await?;
        let routes = self.state.routes();
        routes.check_node(agent.node())?;
        // Before the dump, so that no change falls between the two.
        let events = agent.watch().await?;
        let generation = self
            .state
            .reconcile(agent.clone(), self.programmed.as_ref())
            .await?;
        self.programmed = Some(routes.tables.clone());
        self.last_setback.clear();
        self.status.applied(generation, agent.greeting().boot_nonce);
        Ok((agent, events))
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        let listen = self.options.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("--listen {listen}: cannot listen; is another control plane running here? Stop it or give another address")
        })?;
        info!(address = %listener.local_addr()?, "registrar ready");
        let service = PodRegistrar::service(Arc::new(StaticGateway::new(Arc::clone(&self.state))));
        tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener).map(|stream| {
                stream.inspect(|stream| {
                    // Small answers at once; a socket that refuses is only slower.
                    let _ = stream.set_nodelay(true);
                })
            });
            let served = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await;
            if let Err(error) = served {
                error!(%error, "registrar ended");
            }
        });
        self.registrar = true;
        Ok(())
    }

    /// While the dataplane is there. Returns whether to end.
    async fn attend(&mut self, mut events: tonic::Streaming<v1::Event>, boot_nonce: u64) -> bool {
        let mut changed = self.state.pods.changed.subscribe();
        loop {
            let expiry = self.state.pods.leases().next_expiry();
            tokio::select! {
                _ = self.terminate.recv() => return true,
                _ = self.interrupt.recv() => return true,
                _ = self.hangup.recv() => self.reload(Some(boot_nonce)).await,
                event = events.next() => match event {
                    Some(Ok(event)) => self.event(event),
                    Some(Err(status)) => {
                        self.lost(status.message()).await;
                        return false;
                    }
                    None => {
                        self.lost("it ended").await;
                        return false;
                    }
                },
                () = until(expiry) => self.state.pods.expire().await,
                // Leases may end at another time now.
                _ = changed.changed() => {}
            }
        }
    }

    async fn lost(&mut self, why: &str) {
        warn!(why, "dataplane lost");
        *self.state.pods.dataplane.lock().await = None;
    }

    fn event(&self, event: v1::Event) {
        match event.event {
            Some(What::Attachment(attachment)) => {
                let id = AttachmentId(u16::try_from(attachment.id).unwrap_or(0));
                let reachable = attachment.state != "unreachable";
                if self.state.pods.leases().set_reachable(id, reachable) {
                    info!(attachment = %id, identity = attachment.identity, state = attachment.state, "attachment");
                    self.state.pods.change();
                }
            }
            Some(What::Adjacency(adjacency)) => {
                info!(
                    adjacency = adjacency.id,
                    peer = adjacency.peer,
                    state = adjacency.state,
                    "adjacency"
                );
            }
            Some(What::Port(port)) => info!(port = port.name, carrier = port.carrier, "port"),
            Some(What::Generation(_)) | None => {}
        }
    }

    /// Reads the routes again; with a mistake everything stays as it was.
    async fn reload(&mut self, boot_nonce: Option<u64>) {
        let replaced = self.replace().await;
        match (replaced, boot_nonce) {
            (Ok(Some(generation)), Some(boot_nonce)) => {
                info!(generation, "routes reloaded");
                self.programmed = Some(self.state.routes().tables.clone());
                self.status.applied(generation, boot_nonce);
            }
            // With the dataplane away the status is told when it is programmed.
            (Ok(_), _) => info!("routes reloaded; to be programmed when the dataplane is back"),
            (Err(setback), _) => {
                error!("routes not reloaded, everything stays as it was: {setback}");
                self.status.failed(&setback);
            }
        }
    }

    async fn replace(&self) -> Result<Option<u64>, Setback> {
        let routes = Routes::load(&self.options.routes)?;
        let node = self
            .state
            .pods
            .dataplane
            .lock()
            .await
            .as_ref()
            .map(|dataplane| dataplane.agent.node());
        if let Some(node) = node {
            routes.check_node(node)?;
        }
        Ok(self.state.replace_routes(routes).await?)
    }

    async fn wait(&mut self, pause: Duration) -> Wake {
        tokio::select! {
            _ = self.terminate.recv() => Wake::Terminate,
            _ = self.interrupt.recv() => Wake::Terminate,
            _ = self.hangup.recv() => Wake::Reload,
            () = tokio::time::sleep(pause) => Wake::Retry,
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
