//! Sockets of the DNS: datagrams one by one, and a bounded number of TCP connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::Zone;

/// TCP connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// A TCP connection that asks nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// A query fits; longer datagrams are cut and thereby refused.
const LARGEST: usize = 4_096;
/// After the system refused something, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);

/// Answers datagrams until it is dropped.
pub async fn serve_udp(socket: UdpSocket, zone: Zone) {
    let mut query = [0; LARGEST];
    loop {
        match socket.recv_from(&mut query).await {
            Ok((length, from)) => {
                if let Some(answer) = zone.answer(query.get(..length).unwrap_or_default())
                    && let Err(error) = socket.send_to(&answer, from).await
                {
                    debug!(%error, %from, "an answer of DNS was not sent");
                }
            }
            // Somebody who asked is gone: the kernel tells it here.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                warn!(%error, "DNS receives nothing over UDP for a moment");
                tokio::time::sleep(REFUSED).await;
            }
        }
    }
}

/// Answers connections until it is dropped; those that are open then are closed.
pub async fn serve_tcp(listener: TcpListener, zone: Zone) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = tokio::task::JoinSet::new();
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let zone = zone.clone();
                open.spawn(async move {
                    // Whoever goes away early loses nothing but its answer.
                    let _ = converse(stream, &zone).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "DNS takes no TCP connection for a moment");
                tokio::time::sleep(REFUSED).await;
            }
        }
        while open.try_join_next().is_some() {}
    }
}

/// One connection: queries with their length before them, one after another.
async fn converse(mut stream: TcpStream, zone: &Zone) -> std::io::Result<()> {
    loop {
        let query = tokio::time::timeout(IDLE, read_query(&mut stream)).await??;
        let Some(answer) = zone.answer(&query) else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return Ok(());
        };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

async fn read_query(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LARGEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    Ok(query)
}
