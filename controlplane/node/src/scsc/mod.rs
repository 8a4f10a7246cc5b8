//! `dmsc-controlplane scsc`: the process around a scheduling center (design §8).
//!
//! [`config`] is its file, [`state`] what its streams share: the engine and what is in force; [`service`] speaks with gateways and routers, [`operator`]
//! with dmscctl, [`page`] with a browser.

pub mod command;
pub mod config;
mod groups;
pub mod metrics;
pub mod operator;
mod pace;
pub mod page;
pub mod service;
mod services;
pub mod state;
pub mod timeline;
mod writer;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dmsc_daemon::process::{NotifyState, more_files, notify};
use dmsc_scsc::scsc::ConfigError;
use dmsc_scsc::store::StoreError;
use dmsc_spa::credentials::{Credentials, CredentialsError};
use dmsc_spa::identity::Identity;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tracing::{error, info};

use crate::audit::{AuditError, AuditLog};
use crate::bodies::WINDOW;
use crate::guests::Guests;
use crate::mistake::FileMistakes;
use crate::operator::gate::Gate;
use crate::operator::listen::{self, Addresses, ListenError};
use crate::root_revocations::FolderError;
use crate::tls::Tls;
use config::CenterConfig;
use service::Exchange;
use state::Center;

/// A gateway that is gone without a word is noticed after twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Calls of one connection at a time: one is needed.
const STREAMS: u32 = 4;
/// Reports that came since the last time are judged this often.
const TICK: Duration = Duration::from_millis(250);

/// Why it does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Of the file.
    #[error(transparent)]
    Config(#[from] FileMistakes),
    /// Numbers that the engine does not take.
    #[error("[timing]: {0}")]
    Engine(#[from] ConfigError),
    /// Certificate or key.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// A certificate for somebody else.
    #[error(
        "credentials: {folder}: the certificate is of {certificate}, the configuration is of scsc/{name}; give the credentials of this center, or correct [scsc] name"
    )]
    OtherIdentity {
        /// Folder.
        folder: String,
        /// Who it is of.
        certificate: String,
        /// Who is to start.
        name: String,
    },
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the root took back.
    #[error(transparent)]
    TakenBack(#[from] FolderError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals or TLS.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// A running scheduling center; ends when this is dropped.
pub struct Running {
    /// What its streams share.
    pub center: Arc<Center>,
    /// Where gateways and routers call.
    pub address: SocketAddr,
    /// Where metrics are.
    pub metrics: Option<SocketAddr>,
    /// Where operators with a certificate ask.
    pub operator: Option<SocketAddr>,
    /// Where the page is.
    pub page: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    // Dropped: the server ends its connections.
    _end: oneshot::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.center.close();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn credentials(config: &CenterConfig) -> Result<Credentials, StartError> {
    let credentials = Credentials::load(&config.credentials)?;
    if credentials.identity != Identity::Center(config.name.clone()) {
        return Err(StartError::OtherIdentity {
            folder: config.credentials.display().to_string(),
            certificate: credentials.identity.to_string(),
            name: config.name.clone(),
        });
    }
    Ok(credentials)
}

/// Starts all of it.
///
/// # Errors
/// When something is of no use; nothing is served then.
pub async fn start(config: CenterConfig) -> Result<Running, StartError> {
    let credentials = credentials(&config)?;
    let (listen, metrics, page) = (config.listen, config.metrics, config.page);
    let addresses = Addresses {
        socket: config.operator.clone(),
        tcp: config.operator_listen,
        groups: config.groups.clone(),
    };
    let state_dir = config.state_dir.clone();
    let listener: TcpListener = listen::bind("listen", listen).await?;
    let address = listener.local_addr()?;
    let center = Arc::new(Center::new(config, &credentials)?);
    let guests = Guests::default();
    let server = Server::builder()
        .tls_config(Tls::new(&credentials).server())
        .map_err(ListenError::from)?
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .add_service(Exchange::service(Arc::clone(&center), guests.clone()));
    let watch = guests
        .clone()
        .watch(center.root.clone(), center.watch_revoked());
    let watch = tokio::spawn(watch);
    let incoming = crate::accept::incoming(listener, guests);
    let (end, ended) = oneshot::channel::<()>();
    let serve = tokio::spawn(async move {
        let ended = async move { _ = ended.await };
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, ended).await {
            error!(%error, "gateways are served no more");
        }
    });
    let ticking = Arc::clone(&center);
    let tick = tokio::spawn(async move {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            ticking.tick();
        }
    });
    let mut tasks = vec![tick, serve, watch];
    let metrics = match metrics {
        Some(address) => {
            let center = Arc::clone(&center);
            let source = move || std::future::ready(metrics::registry(&center));
            Some(crate::metrics::serve(address, source).await?)
        }
        None => None,
    };
    let mut operator = None;
    if addresses.socket.is_some() || addresses.tcp.is_some() {
        let audit = AuditLog::open(&state_dir)?;
        // The one that hears what the root takes back.
        let root = Some(center.root.clone());
        let gate = Gate::new(addresses.groups.clone(), root, audit);
        let revoked = center.watch_revoked();
        let center = Arc::clone(&center);
        let service = operator::CenterOperator { center, gate };
        operator = listen::serve(service, &addresses, &credentials, revoked).await?;
    }
    let page = match page {
        Some(address) => {
            let (address, task) = page::serve(address, Arc::clone(&center)).await?;
            tasks.push(task);
            Some(address)
        }
        None => None,
    };
    info!(%address, epoch = center.epoch().0, "scheduling center ready");
    Ok(Running {
        center,
        address,
        metrics,
        operator,
        page,
        tasks,
        _end: end,
    })
}

/// Runs until SIGTERM or SIGINT. SIGHUP reads the file again.
///
/// # Errors
/// When it does not start.
pub async fn run(path: &Path) -> Result<(), StartError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    more_files();
    let running = start(CenterConfig::load(path)?).await?;
    notify(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = hangup.recv() => match running.center.reload(CenterConfig::load(path)) {
                Ok(()) => info!("configuration read again"),
                Err(error) => error!("not reloaded, everything stays as it was: {error}"),
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    running.center.save_now();
    Ok(())
}
