//! Why a call has no answer, and what the caller can do about it.

use std::time::Duration;

use dmsc_pod::Pin;
use dmsc_quic::QuicError;
use dmsc_wire::NameBuf;
use thiserror::Error;

use crate::preface::Code;
use crate::uri::UriError;

/// Whatever a body of a request ends with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer, or only a part of one.
#[derive(Debug, Error)]
pub enum HttpError {
    /// What was to be called is no name.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// No instance could be reached. Nothing was sent: it may be tried again.
    #[error("no instance took the call, nothing was sent: {0}")]
    NotSent(#[from] QuicError),
    /// Each instance that was asked refused. No program was given anything: it may be tried again.
    #[error("{name}: the instance{} refused the call: {code}; no program was given it, and it may be made again", at(*.instance))]
    Refused {
        /// What was called.
        name: NameBuf,
        /// Who refused last.
        instance: Option<Pin>,
        /// Why.
        code: Code,
    },
    /// The program of the instance closed the connection before it took the call: it may be made again.
    #[error("{name}: the instance{} closed the connection before it took the call; it may be made again: {source}", at(*.instance))]
    NotTaken {
        /// What was called.
        name: NameBuf,
        /// Who was to answer.
        instance: Option<Pin>,
        /// What HTTP says.
        source: hyper::Error,
    },
    /// It was sent, and the answer did not come, or broke off.
    #[error("{name}: the instance{} was lost after the call was sent and before it was answered ({why}); it may have been executed, so it was not made again", at(*.instance))]
    Lost {
        /// What was called.
        name: NameBuf,
        /// Who was to answer.
        instance: Option<Pin>,
        /// What became of the stream.
        why: String,
        /// What HTTP says.
        source: hyper::Error,
    },
    /// The answer did not come in time; the instance was told to give up.
    #[error("{name}: no answer within {after:?}; {}", if *.sent { "it may have been executed" } else { "no instance was reached, nothing was sent" })]
    Timeout {
        /// What was called.
        name: NameBuf,
        /// The time that there was.
        after: Duration,
        /// Whether an instance had it.
        sent: bool,
    },
    /// Calls to more names than are kept at the same time.
    #[error("calls to {0} names are under way; wait for some, or raise `names`")]
    Names(usize),
}

pub(crate) fn at(pin: Option<Pin>) -> String {
    pin.map_or_else(String::new, |pin| {
        format!(" {}:{}", pin.gateway, pin.attachment)
    })
}

impl HttpError {
    /// Whether no program was given the call, so that making it again cannot execute it twice.
    #[must_use]
    pub const fn is_safe_to_repeat(&self) -> bool {
        matches!(
            self,
            Self::NotSent(_)
                | Self::Refused { .. }
                | Self::NotTaken { .. }
                | Self::Timeout { sent: false, .. }
                | Self::Names(_)
        )
    }

    /// The HTTP/2 error that the other end's program answered with, if it did.
    fn of_stream(&self) -> Option<&h2::Error> {
        let Self::Lost { source, .. } = self else {
            return None;
        };
        let inner = std::error::Error::source(source)?;
        inner
            .downcast_ref::<h2::Error>()
            .filter(|error| error.is_reset() && error.is_remote())
    }
}

/// What a gRPC program sees. Resets of the other end's program are told as tonic tells them; everything else is `UNAVAILABLE`, and says whether it may have
/// been executed.
impl From<HttpError> for tonic::Status {
    fn from(error: HttpError) -> Self {
        use tonic::Code::{DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable};
        if let Some(reset) = error.of_stream().and_then(h2::Error::reason) {
            return Self::from_error(Box::new(h2::Error::from(reset)));
        }
        let code = match &error {
            HttpError::Uri(_) => InvalidArgument,
            HttpError::Timeout { .. } => DeadlineExceeded,
            HttpError::Names(_) => ResourceExhausted,
            _ => Unavailable,
        };
        let mut status = Self::new(code, error.to_string());
        status.set_source(std::sync::Arc::new(error));
        status
    }
}
