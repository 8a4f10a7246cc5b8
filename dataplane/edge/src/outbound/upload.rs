//! The body of a request on its way out. Its beginning is kept, so that a request that no program got can be made again.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::incoming::Incoming;

/// Bytes that are kept.
const KEPT: usize = 65_536;

/// How long, and for how many bytes, the rest of a body is read whose request is answered.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 65_536;

/// Why a body is not sent on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The caller broke off.
    #[error("the caller's body broke off: {0}")]
    Caller(Box<dyn Error + Send + Sync>),
    /// The request is made again elsewhere.
    #[error("the request is made again elsewhere")]
    Elsewhere,
}

#[derive(Debug)]
struct Source {
    incoming: Incoming,
    /// The attempt that may read.
    attempt: u32,
    keep: bool,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    bytes: u64,
    progress: Instant,
    ended: bool,
    broken: bool,
}

/// What the bodies of all attempts read from.
#[derive(Debug, Clone)]
pub struct Uploads(Arc<Mutex<Source>>);

impl Uploads {
    /// Of a body that is not empty.
    #[must_use]
    pub fn new(incoming: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Source {
            incoming,
            attempt: 0,
            keep: true,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            bytes: 0,
            progress: Instant::now(),
            ended: false,
            broken: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole body once more, if all that was read of it is kept. Earlier ones read no further.
    #[must_use]
    pub fn again(&self) -> Option<Upload> {
        let mut source = self.lock();
        if !source.keep || source.broken {
            return None;
        }
        source.attempt += 1;
        let attempt = source.attempt;
        drop(source);
        Some(Upload::Body {
            source: self.clone(),
            attempt,
            next: 0,
            told_trailers: false,
        })
    }

    /// Nobody will ask for it again.
    pub fn keep_no_more(&self) {
        self.lock().keep = false;
    }

    /// Bytes that came from the caller.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// When the last of them came, and whether there are more to come.
    #[must_use]
    pub fn progress(&self) -> (Instant, bool) {
        let source = self.lock();
        (
            source.progress,
            !source.ended && !source.incoming.is_end_stream(),
        )
    }

    /// The request is answered before its body has ended: reads on for a while, and throws it away. Not reading it would reset the stream of HTTP/2, and a program
    /// that is just about to send (curl 7.88) then reports the reset instead of the answer that it has.
    pub fn linger(self) {
        if self.is_broken() || !self.progress().1 {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LINGER, self.rest()));
        }
    }

    async fn rest(self) {
        let mut bytes = 0;
        while bytes < LINGER_BYTES {
            let frame = poll_fn(|context| Pin::new(&mut self.lock().incoming).poll_frame(context));
            match frame.await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            }
        }
    }

    /// Whether the caller broke off.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.lock().broken
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub enum Upload {
    /// Of a request without a body.
    Empty,
    /// Of one with a body.
    #[allow(missing_docs)]
    Body {
        source: Uploads,
        attempt: u32,
        next: usize,
        told_trailers: bool,
    },
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Self::Body {
            source,
            attempt,
            next,
            told_trailers,
        } = self.get_mut()
        else {
            return Poll::Ready(None);
        };
        let mut guard = source.lock();
        let source = &mut *guard;
        if source.attempt != *attempt {
            return Poll::Ready(Some(Err(UploadError::Elsewhere)));
        }
        if let Some(kept) = source.kept.get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        if source.ended {
            if let (Some(trailers), false) = (&source.trailers, *told_trailers) {
                *told_trailers = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
            }
            return Poll::Ready(None);
        }
        let polled = ready!(Pin::new(&mut source.incoming).poll_frame(context));
        source.progress = Instant::now();
        let frame = match polled {
            None => {
                source.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                source.broken = true;
                return Poll::Ready(Some(Err(UploadError::Caller(error))));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            source.bytes += data.len() as u64;
            if source.keep && source.kept_bytes + data.len() <= KEPT {
                source.kept_bytes += data.len();
                source.kept.push(data.clone());
                *next += 1;
            } else if source.keep {
                // Too much to be kept: this attempt is the last.
                source.keep = false;
                source.kept = Vec::new();
                *next = 0;
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            source.trailers = Some(trailers.clone());
            source.ended = true;
            *told_trailers = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Body {
                source,
                next,
                told_trailers,
                ..
            } => {
                let source = source.lock();
                let all = *next >= source.kept.len();
                let trailers = source.trailers.is_none() || *told_trailers;
                all && trailers && (source.ended || source.incoming.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Body { source, next, .. } => {
                let source = source.lock();
                let left: usize = source.kept.iter().skip(*next).map(Bytes::len).sum();
                let incoming = source.incoming.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(incoming.lower() + left as u64);
                if let Some(upper) = incoming.upper() {
                    hint.set_upper(upper + left as u64);
                }
                hint
            }
        }
    }
}
