//! `dmsc-controlplane spa`: the process around a prefix authority (design §7).
//!
//! [`config`] is its file, [`state`] what its services share, [`service`] answers gateways, [`operator`] people, [`store`] keeps what must not be lost.

pub mod command;
pub mod config;
pub mod metrics;
pub mod operator;
pub mod service;
pub mod state;
pub mod store;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dmsc_daemon::process::{NotifyState, notify};
use dmsc_spa::authority::{Authority, AuthorityError};
use dmsc_spa::credentials::{Credentials, CredentialsError};
use dmsc_spa::identity::Identity;
use dmsc_spa::policy::{Policy, PolicyError};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;
use tracing::{error, info};

use crate::audit::{AuditError, AuditLog};
use crate::bodies::{Bounded, WINDOW};
use crate::guests::Guests;
use crate::mistake::FileMistakes;
use crate::operator::caller;
use crate::operator::gate::Gate;
use crate::operator::listen::{self, ListenError};
use crate::root_revocations::FolderError;
use crate::tls::Tls;
use config::SpaConfig;
use service::Authorities;
use state::Spa;
use store::StoreError;

/// A gateway that is gone without a word is noticed after twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Calls of one gateway at a time; more wait.
const CALLS: usize = 64;
/// Of them in reading at a time.
const STREAMS: u32 = 32;

/// Why it does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Of `[spa]`.
    #[error(transparent)]
    Config(#[from] FileMistakes),
    /// Of the policy file.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Certificate or key.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// A certificate for somebody else.
    #[error(
        "credentials: {folder}: the certificate is of {certificate}, the configuration is of spa/{name}; give the credentials of this authority, or correct [spa] name"
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
    /// Credentials, policy or revocations that the authority does not take.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals or TLS.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// A running authority.
pub struct Running {
    /// What its services share.
    pub spa: Arc<Spa>,
    /// Where gateways ask.
    pub address: SocketAddr,
    /// Where operators with a certificate ask.
    pub operator: Option<SocketAddr>,
    /// Where metrics are.
    pub metrics: Option<SocketAddr>,
}

/// Checks the files without starting anything; says what they hold. Credentials are looked at only if they are there.
///
/// # Errors
/// All mistakes of the first file that has some.
pub fn check(path: &Path) -> Result<SpaConfig, StartError> {
    let config = SpaConfig::load(path)?;
    let policy = Policy::load(&config.policy)?;
    if config.credentials.exists() {
        // Whether the policy is within what the root lets this authority speak for.
        Authority::new(&credentials(&config)?, policy, 0, Vec::new())?;
    }
    Ok(config)
}

fn credentials(config: &SpaConfig) -> Result<Credentials, StartError> {
    let credentials = Credentials::load(&config.credentials)?;
    if credentials.identity != Identity::Authority(config.name.clone()) {
        return Err(StartError::OtherIdentity {
            folder: config.credentials.display().to_string(),
            certificate: credentials.identity.to_string(),
            name: config.name.clone(),
        });
    }
    Ok(credentials)
}

/// Starts all of it; it runs as long as the runtime.
///
/// # Errors
/// When something is of no use; nothing is served then, or not for long.
pub async fn start(config: SpaConfig) -> Result<Running, StartError> {
    let policy = Policy::load(&config.policy)?;
    let credentials = credentials(&config)?;
    let audit = AuditLog::open(&config.state_dir)?;
    let gate = Gate::new(config.groups.clone(), Some(credentials.root_key()?), audit);
    let spa = Arc::new(Spa::new(config, policy, &credentials, gate)?);
    let listener = listen::bind("listen", spa.config.listen).await?;
    let address = listener.local_addr()?;
    let guests = Guests::default();
    tokio::spawn(guests.clone().watch(spa.root.clone(), spa.watch().2));
    let server = Server::builder()
        .tls_config(Tls::new(&credentials).server())
        .map_err(ListenError::from)?
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .concurrency_limit_per_connection(CALLS)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .add_service(Bounded::new(
            Authorities::service(Arc::clone(&spa)),
            Authorities::gateways_only(&spa, guests.clone()),
        ));
    let incoming = crate::accept::incoming(listener, guests);
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(incoming).await {
            error!(%error, "gateways are served no more");
        }
    });
    let operator = operator::SpaOperator(Arc::clone(&spa));
    let addresses = spa.config.addresses();
    let operator = listen::serve(operator, &addresses, &credentials, spa.watch().2).await?;
    let metrics = match spa.config.metrics {
        Some(address) => {
            let spa = Arc::clone(&spa);
            let source = move || std::future::ready(metrics::registry(&spa));
            Some(crate::metrics::serve(address, source).await?)
        }
        None => None,
    };
    info!(name = spa.config.name, %address, "authority ready");
    Ok(Running {
        spa,
        address,
        operator,
        metrics,
    })
}

/// Runs until SIGTERM or SIGINT. SIGHUP reads the files again.
///
/// # Errors
/// When it does not start.
pub async fn run(path: &Path) -> Result<(), StartError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let Running { spa, .. } = start(SpaConfig::load(path)?).await?;
    notify(&[NotifyState::Ready]);
    let mut tidy = tokio::time::interval(operator::TIDY);
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&spa),
            _ = tidy.tick() => spa.tidy(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    Ok(())
}

fn reload(spa: &Spa) {
    let reloaded = spa.reload();
    match &reloaded {
        Ok(diff) => info!(changes = diff.len(), "policy read again"),
        Err(error) => error!("not reloaded, everything stays as it was: {error}"),
    }
    let caller = caller::signal("SIGHUP");
    let what = match &reloaded {
        Ok(diff) => diff.join("\n"),
        Err(_) => spa.config.file.display().to_string(),
    };
    let outcome = reloaded.map_err(tonic::Status::from);
    spa.gate.record(&caller, "Reload", what, &outcome, 0);
}
