//! OpenMetrics over plain HTTP: one path, made anew for every reader.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::warn;

/// Readers at a time; more wait in the kernel's queue.
const READERS: usize = 8;
/// A reader that is slower is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest head of a request.
const MAX_HEAD: usize = 16 << 10;
/// After the system refused a connection, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers readers until the process ends; `source` is asked for every one of them.
pub async fn serve<S, R>(listener: TcpListener, source: S)
where
    S: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Registry> + Send + 'static,
{
    let readers = Arc::new(Semaphore::new(READERS));
    let source = Arc::new(source);
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
                let source = Arc::clone(&source);
                async move { Ok::<_, Infallible>(answer(&request, &*source).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A reader that goes away, or is too slow, loses nothing but its answer.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(permit);
        });
    }
}

async fn answer<B, S, R>(request: &Request<B>, source: &S) -> Response<Full<Bytes>>
where
    S: Fn() -> R,
    R: Future<Output = Registry>,
{
    let plain = |status, said: &str| (status, "text/plain", said.to_owned());
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let registry = source().await;
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &registry) {
                Ok(()) => (StatusCode::OK, OPEN_METRICS, text),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, ""),
            }
        }
        (&Method::GET | &Method::HEAD, _) => {
            plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n")
        }
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::gauge::Gauge;
    use std::net::SocketAddr;
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
        let source = || async {
            let mut registry = Registry::with_prefix("dmsc");
            let gauge: Gauge = Gauge::default();
            gauge.set(7);
            registry.register("sessions", "Live streams to neighbours", gauge);
            registry
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, source));
        let text = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let help = "# HELP dmsc_sessions Live streams to neighbours.";
        assert!(text.contains(OPEN_METRICS) && text.contains(help), "{text}");
        assert!(text.ends_with("dmsc_sessions 7\n# EOF\n"), "{text}");
        let text = ask(address, b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
        let text = ask(address, b"POST /metrics HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 405"), "{text}");
        let text = ask(address, b"HEAD /metrics HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"));
        // Something else altogether: the next one gets its answer.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[0; 20_000]).await.unwrap();
        // Closed, or reset because not everything was read.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let text = ask(address, b"GET /metrics HTTP/1.0\r\n\r\n").await;
        assert!(text.contains("dmsc_sessions 7"), "{text}");
    }
}
