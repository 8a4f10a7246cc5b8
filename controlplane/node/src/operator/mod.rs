//! The operator's API: what dmscctl says to this process.
//!
//! [`caller`] knows who asks, [`gate`] what they may and what is written down, [`listen`] where it is served; [`service`] answers for `sg` and `sr`, from
//! [`network`], [`lsdb`], [`names`], [`policies`] and [`convergence`], long lists by [`page`].

pub mod caller;
pub mod convergence;
pub mod gate;
pub mod listen;
pub mod lsdb;
pub mod names;
pub mod network;
pub mod page;
pub mod policies;
pub mod scheduling;
pub mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dmsc_daemon::Groups;
use dmsc_spa::credentials::{Credentials, CredentialsError};
use thiserror::Error;
use tokio::sync::watch;

use crate::audit::{AuditError, AuditLog};
use crate::config::Config;
use crate::handle::Handle;
use crate::metrics::{self, node::NodeMetrics};
use convergence::Convergence;
use gate::Gate;
use listen::{Addresses, ListenError};
use service::NodeOperator;

/// How often observations are taken from the engine, which keeps 10,000 of them.
const COLLECT: Duration = Duration::from_secs(1);

/// Why the API is not served.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The root's certificate.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// What runs, for the process around it.
pub struct Started {
    /// To write down what a signal changed.
    pub gate: Arc<Gate>,
    /// Where operators with a certificate ask.
    pub tcp: Option<SocketAddr>,
    /// Where metrics are.
    pub metrics: Option<SocketAddr>,
}

/// Serves operator's API and metrics of a node, as its configuration says, until the process ends.
///
/// # Errors
/// When an address or the audit log cannot be used.
pub async fn start(
    handle: &Handle,
    config: &Config,
    credentials: &Credentials,
) -> Result<Started, OperatorError> {
    let section = &config.node;
    let groups = Groups {
        view: section.view_group.clone(),
        operate: section.operate_group.clone(),
        admin: section.admin_group.clone(),
        own_user: false,
    };
    let audit = AuditLog::open(&section.state_dir)?;
    let gate = Arc::new(Gate::new(
        groups.clone(),
        Some(credentials.root_key()?),
        audit,
    ));
    let convergence = Arc::new(Convergence::default());
    let service = NodeOperator {
        handle: handle.clone(),
        gate: Arc::clone(&gate),
        convergence: Arc::clone(&convergence),
    };
    let addresses = Addresses {
        socket: section.operator.clone(),
        tcp: section.operator_listen,
        groups,
    };
    let revoked = handle.query(|node| node.signals.revoked.subscribe()).await;
    // None while the process ends: nothing is served for long.
    let revoked = revoked.unwrap_or_else(|| watch::channel(0).1);
    let tcp = listen::serve(service, &addresses, credentials, revoked).await?;
    let told = Arc::new(NodeMetrics::new(handle.clone(), convergence));
    tokio::spawn(Arc::clone(&told).collect(COLLECT));
    let metrics = match section.metrics {
        Some(address) => {
            let source = move || {
                let told = Arc::clone(&told);
                async move { told.registry().await }
            };
            Some(metrics::serve(address, source).await?)
        }
        None => None,
    };
    Ok(Started { gate, tcp, metrics })
}
