//! OpenMetrics over plain HTTP: one path, made anew for every reader.

use http::{Request, StatusCode};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::http::{self as small, Answer};

/// Readers at a time.
const READERS: usize = 8;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers readers until the process ends; `source` is asked for every one of them.
pub async fn serve<S, R>(listener: TcpListener, source: S)
where
    S: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Registry> + Send + 'static,
{
    let source = std::sync::Arc::new(source);
    let answers = move |request: Request<()>| {
        let source = std::sync::Arc::clone(&source);
        async move { answer(&request, &*source).await }
    };
    small::serve(listener, READERS, answers).await;
}

async fn answer<S, R>(request: &Request<()>, source: &S) -> Answer
where
    S: Fn() -> R,
    R: Future<Output = Registry>,
{
    if request.uri().path() != "/metrics" {
        let sentence = "metrics are at /metrics\n";
        return small::text(StatusCode::NOT_FOUND, "text/plain", sentence);
    }
    let registry = source().await;
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => small::text(StatusCode::OK, OPEN_METRICS, text),
        Err(_) => small::text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", ""),
    }
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
