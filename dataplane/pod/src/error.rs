//! Why a pod cannot take part; [`crate::CallError`] is about a single call.

use thiserror::Error;

use crate::config::GatewayAddress;
use crate::credentials::CredentialsError;

/// An error with all that is behind it: transport errors say the cause only there.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// Registration, resolution or the socket failed.
#[derive(Debug, Error)]
pub enum PodError {
    /// The gateway's host name has no address.
    #[error("gateway {gateway}: no such host: {source}")]
    Resolve {
        /// As configured.
        gateway: GatewayAddress,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody answers at the gateway; it may come back.
    #[error(
        "gateway {gateway} does not answer: {reason}; is its control plane running, and is this address reachable from here?"
    )]
    Away {
        /// As configured.
        gateway: GatewayAddress,
        /// The last reason.
        reason: String,
    },
    /// The gateway answered, and refused.
    #[error("gateway {gateway} refused: {reason}")]
    Refused {
        /// As configured.
        gateway: GatewayAddress,
        /// Its sentence.
        reason: String,
    },
    /// The lease is not known any more; the pod registers again by itself.
    #[error("the lease has ended; the pod is registering again")]
    NoLease,
    /// The registrar's answer makes no sense: it is another program, or a defect.
    #[error("gateway {gateway} sent an answer that cannot be used: {field}")]
    BadAnswer {
        /// As configured.
        gateway: GatewayAddress,
        /// Which part.
        field: &'static str,
    },
    /// Certificate or key cannot be used.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// The UDP socket could not be opened.
    #[error("UDP port {port}: {source}; 0 takes any free port")]
    Bind {
        /// The port asked for.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The socket failed otherwise.
    #[error("UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

impl PodError {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::NoLease | Self::Resolve { .. }
        )
    }
}
