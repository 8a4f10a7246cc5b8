//! One check of one program.

use std::net::SocketAddr;

use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::grpc;
use crate::config::{HealthCheck, HealthKind};

/// Why a program is not well.
#[derive(Debug, Error)]
pub enum Failed {
    /// It takes no connection, or breaks it.
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    /// It takes too long.
    #[error("no answer in time")]
    Late,
    /// Not HTTP.
    #[error("its answer is not HTTP/1")]
    NotHttp,
    /// HTTP says no.
    #[error("HTTP status {0}")]
    Status(u16),
    /// gRPC says no.
    #[error("gRPC: {0}")]
    Grpc(String),
}

/// Asks once, within the configured time.
///
/// # Errors
/// It is not well; why.
pub async fn probe(to: SocketAddr, check: &HealthCheck) -> Result<(), Failed> {
    let asking = async {
        match &check.kind {
            HealthKind::Tcp => tcp(to).await,
            HealthKind::Http { path } => http(to, path).await,
            HealthKind::Grpc { service } => grpc::check(to, service).await,
        }
    };
    let asked = tokio::time::timeout(check.timeout, asking).await;
    asked.unwrap_or(Err(Failed::Late))
}

async fn tcp(to: SocketAddr) -> Result<(), Failed> {
    TcpStream::connect(to).await?;
    Ok(())
}

async fn http(to: SocketAddr, path: &str) -> Result<(), Failed> {
    let mut stream = TcpStream::connect(to).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: dmsc-edge\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // "HTTP/1.1 200"
    let mut line = [0; 12];
    stream.read_exact(&mut line).await?;
    match status(&line).ok_or(Failed::NotHttp)? {
        200..=399 => Ok(()),
        status => Err(Failed::Status(status)),
    }
}

fn status(line: &[u8; 12]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    let version = text.strip_prefix("HTTP/1.")?;
    version.get(1..)?.strip_prefix(' ')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::TcpListener;

    fn check(kind: HealthKind) -> HealthCheck {
        HealthCheck {
            kind,
            timeout: Duration::from_secs(5),
            ..HealthCheck::default()
        }
    }

    async fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1_024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(answer).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn statuses_of_http() {
        let http = check(HealthKind::Http { path: "/".into() });
        let well = server(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        probe(well, &http).await.unwrap();
        probe(well, &check(HealthKind::Tcp)).await.unwrap();
        let moved = server(b"HTTP/1.0 302 Found\r\n\r\n").await;
        probe(moved, &http).await.unwrap();
        let ill = server(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        assert!(matches!(probe(ill, &http).await, Err(Failed::Status(503))));
        let other = server(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        assert!(matches!(probe(other, &http).await, Err(Failed::NotHttp)));
        let mute = server(b"").await;
        assert!(matches!(
            probe(mute, &http).await,
            Err(Failed::Connection(_))
        ));
    }

    #[tokio::test]
    async fn nobody_listens_or_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut http = check(HealthKind::Http { path: "/".into() });
        http.timeout = Duration::from_millis(20);
        assert!(matches!(probe(address, &http).await, Err(Failed::Late)));
        drop(listener);
        for kind in [HealthKind::Tcp, HealthKind::Http { path: "/".into() }] {
            let failed = probe(address, &check(kind)).await.unwrap_err();
            assert!(matches!(failed, Failed::Connection(_)), "{failed}");
        }
    }
}
