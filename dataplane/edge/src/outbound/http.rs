//! HTTP of a program: HTTP/1.1, HTTP/2 by prior knowledge, gRPC, WebSocket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep_until;
use tracing::debug;

use super::caller::Caller;
use super::failure::{Failure, Reason};
use super::felt::Felt;
use super::incoming::Incoming;
use super::pulse::{Pulse, TooQuiet};
use super::upgrade::Own;
use super::{NameSource, headers, second};
use crate::pod::{Context, Phase};
use crate::stats::ConnectionKind;

/// How HTTP/2 begins (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Until the first bytes are there that tell which version it is.
const FIRST: Duration = Duration::from_secs(60);
/// Of HTTP/1.1. HTTP/2 reads twice as much, so that a head that is longer is answered with a reason.
pub const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
const BUFFER: usize = 128 << 10;
/// What a program still sends that was told that it is refused is read so long and so far: who is cut off in the middle of it might not read why.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// As far as that.
pub const FAREWELL_BYTES: usize = 1 << 20;

/// Serves one connection of a program until it ends.
pub async fn serve<I>(mut io: I, names: NameSource, context: Arc<Context>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = context.shared.stats.opened(ConnectionKind::Http);
    let read = tokio::time::timeout(FIRST, first(&mut io));
    let (bytes, second) = tokio::select! {
        read = read => match read {
            Ok(Some(read)) => read,
            _ => return,
        },
        () = context.until_quiet() => return,
    };
    if second {
        second::serve(bytes, io, names, context).await;
    } else {
        serve_first(bytes, io, names, context).await;
    }
}

/// The first bytes, and whether they are those of HTTP/2; `None` if there are none.
async fn first<I: AsyncRead + Unpin>(io: &mut I) -> Option<(Bytes, bool)> {
    let mut bytes = BytesMut::with_capacity(4_096);
    loop {
        if io.read_buf(&mut bytes).await.ok()? == 0 {
            return (!bytes.is_empty()).then(|| (bytes.freeze(), false));
        }
        let known = bytes.len().min(PREFACE.len());
        if bytes[..known] != PREFACE[..known] {
            return Some((bytes.freeze(), false));
        }
        if known == PREFACE.len() {
            return Some((bytes.freeze(), true));
        }
    }
}

async fn serve_first<I>(bytes: Bytes, io: I, names: NameSource, context: Arc<Context>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Pulse::new(true);
    let io = TokioIo::new(Felt::new(bytes, io, Arc::clone(&pulse)));
    let caller = Arc::new(Caller::new(Arc::clone(&context), names, Arc::clone(&pulse)));
    let drained = Arc::clone(&context);
    let service = service_fn(move |mut request| {
        let (caller, context) = (Arc::clone(&caller), Arc::clone(&drained));
        async move {
            let goes_over = headers::upgrade(request.headers()).is_some();
            let own = goes_over.then(|| Own::First(hyper::upgrade::on(&mut request)));
            let mut response = caller.call(request.map(Incoming::First), own).await;
            let is_over = *context.phase.borrow() > Phase::Running;
            if is_over && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(io, service)
        .with_upgrades();
    // A program that uses it is told with its next answer. Closing it at once might meet a request.
    let mut drain = pin!(context.until_quiet());
    let mut draining = false;
    let mut look = pin!(sleep_until(
        (std::time::Instant::now() + Duration::from_secs(10)).into()
    ));
    let over = loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                break match ended {
                    Ok(()) => return,
                    Err(error) => Over::Broken(error),
                };
            }
            () = &mut drain, if !draining => {
                draining = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            () = &mut look => match pulse.check() {
                Ok(next) => look.as_mut().reset(next.into()),
                Err(quiet) => break Over::Quiet(quiet),
            },
        }
    };
    let parts = connection.into_parts().map(|parts| parts.io.into_inner());
    if let Some((io, refused)) = parts.map(Felt::into_parts)
        && let Some(failure) = over.failure(refused)
    {
        context.shared.stats.error(failure.reason.as_str());
        let farewell = part(io, &failure);
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// How a connection of HTTP/1.1 came to its end.
enum Over {
    Broken(hyper::Error),
    Quiet(TooQuiet),
}

impl Over {
    /// What its program is to be told; `refused` is what the library wanted to say.
    fn failure(self, refused: Option<StatusCode>) -> Option<Failure> {
        let error = match self {
            Self::Quiet(TooQuiet::Idle) => return None,
            Self::Quiet(TooQuiet::Head) => {
                let what = "the head of the request did not come to its end";
                return Some(Failure::new(Reason::SlowHead, what));
            }
            Self::Broken(error) => error,
        };
        debug!(%error, "an HTTP/1.1 connection ended");
        let reason = match refused? {
            StatusCode::URI_TOO_LONG => Reason::LongTarget,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Reason::LongHead,
            _ => Reason::BadRequest,
        };
        Some(Failure::new(reason, error.to_string()))
    }
}

/// Says why, and reads for a while what the program had under way.
async fn part<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, failure: &Failure) {
    let said = async {
        io.write_all(failure.last_words().as_bytes()).await?;
        io.shutdown().await
    };
    if said.await.is_ok() {
        let mut rest = io.take(FAREWELL_BYTES as u64);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}
