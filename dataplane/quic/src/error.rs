//! What can go wrong, and what the caller can do about it.

use dmsc_pod::Pin;
use dmsc_spa::credentials::CredentialsError;
use dmsc_spa::verify::VerifyError;
use dmsc_wire::NameBuf;
use thiserror::Error;

/// Why there is no endpoint, no connection, or no answer.
#[derive(Debug, Error)]
pub enum QuicError {
    /// The folder of the credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Certificate and key are of no use for TLS, or not a pod's.
    #[error("the credentials are of no use for TLS between pods: {0}")]
    Tls(String),
    /// More proofs than the other end would read.
    #[error(
        "at most {} proofs of at most {} bytes each can be shown",
        crate::proof::MAX_PROOFS,
        crate::proof::MAX_PROOF
    )]
    Proofs,
    /// Somebody else has them.
    #[error("the datagrams of this pod were taken before; one endpoint per pod")]
    Taken,
    /// QUIC needs 1,200 bytes.
    #[error(
        "between these names {0} bytes of payload pass the pod's link, and QUIC needs 1200; use shorter names or a link with a larger MTU"
    )]
    TooSmall(usize),
    /// The configured number of peers or names is in use.
    #[error(
        "too many connections are in use at the same time; close some, or raise `peers` and `names`"
    )]
    Full,
    /// No connection in time.
    #[error("{0}: no instance answered and proved itself in time")]
    Timeout(NameBuf),
    /// Routers say that there is no way.
    #[error("{0}: no instance can be reached from here")]
    NoRoute(NameBuf),
    /// The connection failed before anything was said on it.
    #[error("{name}: no connection: {source}")]
    Connect {
        /// What was called.
        name: NameBuf,
        /// What QUIC says.
        source: quinn::ConnectionError,
    },
    /// Who answered has not proven the name; nothing was said to it.
    #[error(transparent)]
    NotProven(#[from] NotProven),
    /// The connection was lost before the call was sent; it may be made again.
    #[error("{name}: the connection was lost before the call was sent: {source}")]
    NotSent {
        /// What was called.
        name: NameBuf,
        /// What QUIC says.
        source: quinn::ConnectionError,
    },
    /// The call was sent to an instance that was then lost, or broke off.
    #[error(
        "{name}: the instance {} was lost after the call was sent and before it answered ({why}); it may have been executed, so it was not sent again", at(*.instance)
    )]
    Lost {
        /// What was called.
        name: NameBuf,
        /// Who was to answer.
        instance: Option<Pin>,
        /// What QUIC says.
        why: String,
    },
    /// The answer is larger than the configuration takes.
    #[error(
        "{name}: the answer has more than {max} bytes; raise `max_answer`, or read it from a stream"
    )]
    TooLong {
        /// What was called.
        name: NameBuf,
        /// The limit.
        max: usize,
    },
    /// The endpoint was closed.
    #[error("the endpoint was closed")]
    Closed,
}

impl QuicError {
    /// The same for somebody else who waited for the same connection; `None`: it is none of those that a dial ends with.
    pub(crate) fn shared(&self) -> Option<Self> {
        Some(match self {
            Self::Tls(why) => Self::Tls(why.clone()),
            Self::TooSmall(bytes) => Self::TooSmall(*bytes),
            Self::Full => Self::Full,
            Self::Timeout(name) => Self::Timeout(name.clone()),
            Self::NoRoute(name) => Self::NoRoute(name.clone()),
            Self::Connect { name, source } => Self::Connect {
                name: name.clone(),
                source: source.clone(),
            },
            Self::NotProven(why) => Self::NotProven(why.clone()),
            Self::Closed => Self::Closed,
            _ => return None,
        })
    }
}

fn at(pin: Option<Pin>) -> String {
    pin.map_or_else(String::new, |pin| {
        format!("{}:{}", pin.gateway, pin.attachment)
    })
}

/// Why this end ended a connection by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Ended {
    /// The other end's certificate is over.
    #[error("the certificate of the other end has expired; it is to be renewed there")]
    Certificate,
    /// What proved the name is over, for good.
    #[error("the authorisation that proved the name has expired, and no renewed one was shown")]
    Proof,
    /// Routers say that there is no way.
    #[error("routers say that there is no way")]
    Unreachable,
    /// The root took the other end's certificate or key back.
    #[error("the certificate of the other end was revoked by the root; it needs a new key there")]
    CertificateRevoked,
    /// What proved the name was taken back.
    #[error("the authorisation that proved the name was revoked")]
    ProofRevoked,
}

impl Ended {
    /// In words for the other end.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Certificate => "your certificate has expired; renew it, and connect again",
            Self::Proof => "the authorisation that you showed has expired; show a renewed one",
            Self::Unreachable => "no route",
            Self::CertificateRevoked => {
                "your certificate was revoked by the root; a new key and certificate are needed"
            }
            Self::ProofRevoked => "the authorisation that proved the name was revoked",
        }
    }
}

/// Who answered has not proven the name that was called.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name}: the pod {identity:?} answered, and does not prove that it may: {why}")]
pub struct NotProven {
    /// What was called.
    pub name: NameBuf,
    /// Who answered, by its certificate.
    pub identity: String,
    /// Why it is not believed.
    pub why: Unproven,
}

/// Why proofs do not prove a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unproven {
    /// None was shown.
    #[error("it shows no authorisation")]
    Nothing,
    /// They cannot be read.
    #[error("what it shows cannot be read: {0}")]
    Unreadable(String),
    /// One is not by an authority of the root.
    #[error("what it shows is not by an authority: {0}")]
    NotBelieved(VerifyError),
    /// It is somebody else's.
    #[error("it shows an authorisation of the pod {0:?}")]
    Identity(String),
    /// It is for another tenant.
    #[error("its authorisation is for another domain")]
    Domain,
    /// It is for another place.
    #[error("its authorisation is for another gateway than the one that it is at")]
    Gateway,
    /// It is over, or begins in the future.
    #[error("its authorisation is not valid at this time")]
    Validity,
    /// An authority or the root took it back.
    #[error("its authorisation was revoked")]
    Revoked,
    /// It is for other names.
    #[error("its authorisations are for other names")]
    Name,
}
