//! HTTP of a program: HTTP/1.1, HTTP/2 by prior knowledge, gRPC, WebSocket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep_until;
use tracing::debug;

use super::NameSource;
use super::caller::Caller;
use super::pulse::{Felt, Pulse, TooQuiet};
use crate::pod::{Context, Phase};
use crate::stats::ConnectionKind;

/// How HTTP/2 begins (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Until the first bytes are there that tell which version it is.
const FIRST: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
const BUFFER: usize = 128 << 10;
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const STREAMS: u32 = 256;
const RESETS: usize = 20;
const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ndmsc-error: slow-head\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

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
        serve_second(bytes, io, names, context).await;
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
    let service = service_fn(move |request| {
        let (caller, context) = (Arc::clone(&caller), Arc::clone(&drained));
        async move {
            let mut response = caller.call(request).await;
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
    let quiet = loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "an HTTP/1.1 connection ended");
                }
                return;
            }
            () = &mut drain, if !draining => {
                draining = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            () = &mut look => match pulse.check() {
                Ok(next) => look.as_mut().reset(next.into()),
                Err(quiet) => break quiet,
            },
        }
    };
    if quiet == TooQuiet::Head
        && let Some(parts) = connection.into_parts()
    {
        context.shared.stats.error("slow-head");
        let mut io = parts.io.into_inner();
        let _ = io.write_all(TIMEOUT).await;
        let _ = io.shutdown().await;
    }
}

async fn serve_second<I>(bytes: Bytes, io: I, names: NameSource, context: Arc<Context>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Pulse::new(false);
    let io = TokioIo::new(Felt::new(bytes, io, Arc::clone(&pulse)));
    let caller = Arc::new(Caller::new(Arc::clone(&context), names, Arc::clone(&pulse)));
    let service = service_fn(move |request| {
        let caller = Arc::clone(&caller);
        async move { Ok::<_, Infallible>(caller.call(request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut drain = pin!(context.until(Phase::Draining));
    let mut closing = false;
    let mut look = pin!(sleep_until(
        (std::time::Instant::now() + Duration::from_secs(10)).into()
    ));
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "an HTTP/2 connection ended");
                }
                return;
            }
            () = &mut drain, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut look => match pulse.check() {
                Ok(next) => look.as_mut().reset(next.into()),
                // It was told to go, and stays.
                Err(_) if closing => return,
                Err(_) => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset((std::time::Instant::now() + Duration::from_secs(5)).into());
                }
            },
        }
    }
}
