//! OpenMetrics over plain HTTP: a responder that knows one path, and what each daemon tells there.

pub mod node;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::operator::listen::{ListenError, bind};

/// What is told, made anew for every reader.
pub type Source = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Registry> + Send>> + Send + Sync>;

/// Readers at a time; more wait in the kernel's queue.
const READERS: usize = 8;
/// Largest head of a request.
const MAX_HEAD: usize = 8_192;
/// A reader that is slower is left.
const PATIENCE: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens at once, then answers until the process ends.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve(address: SocketAddr, source: Source) -> Result<SocketAddr, ListenError> {
    let listener = bind("metrics", address).await?;
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "metrics ready");
    tokio::spawn(accept(listener, source));
    Ok(address)
}

async fn accept(listener: TcpListener, source: Source) {
    let readers = Arc::new(Semaphore::new(READERS));
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, for example: it passes.
                warn!(%error, "a reader of metrics was not let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            // A reader that goes away, or is too slow, loses nothing but its answer.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, source)).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, source: Source) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; 1_024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece).await?;
        if read == 0 || head.len() > MAX_HEAD {
            return Ok(());
        }
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => {
            let registry = source().await;
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &registry) {
                Ok(()) => ("200 OK", OPEN_METRICS, text),
                Err(_) => ("500 Internal Server Error", "text/plain", String::new()),
            }
        }
        ("GET" | "HEAD", _) => (
            "404 Not Found",
            "text/plain",
            "metrics are at /metrics\n".to_owned(),
        ),
        _ => (
            "405 Method Not Allowed",
            "text/plain",
            "only GET\n".to_owned(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::gauge::Gauge;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn one_path_is_known() {
        let source: Source = Arc::new(|| {
            Box::pin(async {
                let mut registry = Registry::with_prefix("dmsc");
                let gauge: Gauge = Gauge::default();
                gauge.set(7);
                registry.register("sessions", "Live streams to neighbours", gauge);
                registry
            })
        });
        let address = serve(([127, 0, 0, 1], 0).into(), source).await.unwrap();
        let text = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(
            text.contains("# HELP dmsc_sessions Live streams to neighbours."),
            "{text}"
        );
        assert!(text.ends_with("dmsc_sessions 7\n# EOF\n"), "{text}");
        let text = ask(address, b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
        let text = ask(address, b"POST /metrics HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 405"), "{text}");
        // Something else altogether: no answer, and the next one gets its.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[0; 20_000]).await.unwrap();
        // Closed, or reset because not everything was read.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let text = ask(address, b"GET /metrics HTTP/1.0\r\n\r\n").await;
        assert!(text.contains("dmsc_sessions 7"), "{text}");
    }
}
