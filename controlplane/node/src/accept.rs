//! Connections from outside: a bounded number of them, bounded for each address, none that stays silent, and never the end of listening.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::warn;

/// Most connections in all, and from one address.
const MOST: usize = 8_192;
const MOST_EACH: usize = 512;
/// Whoever says nothing for this long is let go: pods refresh every 10 s, neighbours speak every few seconds.
const SILENT: Duration = Duration::from_secs(60);
/// After the system refused a connection, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);

/// Connections by address.
#[derive(Debug, Default)]
struct Count {
    by_address: HashMap<IpAddr, usize>,
    all: usize,
}

/// One connection; counted while it lives.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    silent: Pin<Box<Sleep>>,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    address: IpAddr,
    count: Arc<Mutex<Count>>,
}

impl Place {
    fn take(count: &Arc<Mutex<Count>>, address: IpAddr) -> Option<Self> {
        let mut table = count.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_address.get(&address).copied().unwrap_or(0);
        if table.all >= MOST || own >= MOST_EACH {
            return None;
        }
        table.all += 1;
        table.by_address.insert(address, own + 1);
        Some(Self {
            address,
            count: Arc::clone(count),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        table.all = table.all.saturating_sub(1);
        match table.by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(table.by_address.remove(&self.address)),
        }
    }
}

/// Connections of a listener, for a tonic server. Never ends by itself.
pub(crate) fn incoming(listener: TcpListener) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let count = Arc::new(Mutex::new(Count::default()));
        let mut told = None::<Instant>;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let trouble = match accepted {
                Ok((stream, from)) => {
                    let address = from.ip().to_canonical();
                    if let Some(place) = Place::take(&count, address) {
                        // Small answers at once; a socket that refuses is only slower.
                        let _ = stream.set_nodelay(true);
                        let connection = Connection {
                            stream,
                            silent: Box::pin(sleep(SILENT)),
                            _place: place,
                        };
                        if sender.send(Ok(connection)).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    format!("too many connections, the last from {address}")
                }
                Err(error) => {
                    sleep(REFUSED).await;
                    error.to_string()
                }
            };
            if told.is_none_or(|told| told.elapsed() > SILENT) {
                warn!(trouble, "connections are turned away");
                told = Some(Instant::now());
            }
        }
    });
    ReceiverStream::new(receiver)
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.silent.as_mut().reset(Instant::now() + SILENT);
            return read;
        }
        match self.silent.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let count = Arc::default();
        let (one, two) = ("10.1.1.2".parse().unwrap(), "10.1.1.3".parse().unwrap());
        let mut places: Vec<Place> = (0..MOST_EACH)
            .map(|_| Place::take(&count, one).unwrap())
            .collect();
        assert!(Place::take(&count, one).is_none());
        assert!(Place::take(&count, two).is_some());
        places.pop();
        places.push(Place::take(&count, one).unwrap());
        drop(places);
        let table = count.lock().unwrap();
        assert_eq!((table.all, table.by_address.len()), (0, 0));
    }
}
