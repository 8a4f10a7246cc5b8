//! OpenMetrics over plain HTTP, at `/metrics`.

mod budget;
mod picture;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::edge::Edge;
use budget::Budget;
use picture::Picture;

/// Readers at a time; more wait in the kernel's queue.
const READERS: usize = 8;
/// A reader that is slower is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// After the system refused a connection.
const REFUSED: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics that cannot be served.
#[derive(Debug, Error)]
#[error("metrics {address}: cannot listen: {why}")]
pub struct MetricsError {
    /// As configured.
    pub address: SocketAddr,
    /// Why.
    pub why: std::io::Error,
}

/// Listens at once, then answers until the process ends; nothing if none is configured.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve(edge: Arc<Edge>) -> anyhow::Result<()> {
    let Some(address) = edge.config.metrics else {
        return Ok(());
    };
    let listener = bind(address).map_err(|why| MetricsError { address, why })?;
    info!(%address, "metrics ready");
    let budget = Arc::new(Mutex::new(Budget::new(edge.config.series)));
    let source = move || text(&edge, &budget);
    tokio::spawn(accept(listener, Arc::new(source)));
    Ok(())
}

/// The process that is replaced, and the one that replaces it, listen on the same address for a while.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    TcpListener::from_std(socket.into())
}

/// `None`: the text cannot be made.
fn text(edge: &Edge, budget: &Mutex<Budget>) -> Option<String> {
    let picture = {
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = edge.pods.iter().map(|pod| pod.stats.as_ref());
        Picture::take(pods, edge.log.dropped(), &mut budget)
    };
    let mut registry = Registry::with_prefix("dmsc_edge");
    registry.register_collector(Box::new(picture));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).ok()?;
    Some(text)
}

type Source = dyn Fn() -> Option<String> + Send + Sync;

async fn accept(listener: TcpListener, source: Arc<Source>) {
    let readers = Arc::new(Semaphore::new(READERS));
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a reader of metrics was not let in");
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, &*source);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // A reader that goes away, or is too slow, loses nothing but its answer.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(permit);
        });
    }
}

fn answer<B>(request: &Request<B>, source: &Source) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match source() {
            Some(text) => (StatusCode::OK, OPEN_METRICS, text),
            None => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                String::new(),
            ),
        },
        (&Method::GET | &Method::HEAD, _) => {
            let said = "metrics are at /metrics\n".to_owned();
            (StatusCode::NOT_FOUND, "text/plain", said)
        }
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "only GET\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn one_path_is_known() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, Arc::new(|| Some("# EOF\n".to_owned()))));
        let text = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(
            text.contains(OPEN_METRICS) && text.ends_with("# EOF\n"),
            "{text}"
        );
        let text = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
        let text = ask(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 405"), "{text}");
        // The process that replaces this one listens there, too.
        bind(address).unwrap();
    }
}
