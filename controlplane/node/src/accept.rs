//! Connections from outside: a bounded number of them, bounded for each address, none that stays silent, and never the end of listening.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::warn;

use crate::guests::{Guests, Stay};
use crate::handle::Handle;

/// Most connections in all, and from one address.
const MOST: usize = 8_192;
const MOST_EACH: usize = 512;
/// Of them, where the callers are known beforehand, most of all strangers together, and from one of their addresses.
const STRANGERS: usize = 256;
const STRANGERS_EACH: usize = 16;
/// How long it counts who is known.
const KNOWN: Duration = Duration::from_secs(1);
/// Whoever says nothing for this long is let go: pods refresh every 10 s, neighbours speak every few seconds.
const SILENT: Duration = Duration::from_secs(60);
/// After the system refused a connection, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);

/// Connections by address, or network of one subscriber.
#[derive(Debug, Default)]
struct Count {
    by_address: HashMap<IpAddr, usize>,
    all: usize,
    strangers: usize,
}

/// Who a caller is to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Callers are not known beforehand: one is as good as another.
    Anywhere,
    /// One of the addresses that are expected.
    Known,
    /// None of them.
    Stranger,
}

/// What counts as one address: whoever has one IPv6 address has its /64.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
    }
}

/// One connection; counted while it lives.
pub struct Connection {
    stream: TcpStream,
    silent: Pin<Box<Sleep>>,
    _place: Place,
    stay: Option<Stay>,
}

#[derive(Debug)]
struct Place {
    address: IpAddr,
    stranger: bool,
    count: Arc<Mutex<Count>>,
}

impl Place {
    fn take(count: &Arc<Mutex<Count>>, address: IpAddr, from: From) -> Option<Self> {
        // Two neighbours may be in one /64, and each is expected.
        let address = match from {
            From::Known => address,
            _ => counted(address),
        };
        let stranger = from == From::Stranger;
        let most_each = if stranger { STRANGERS_EACH } else { MOST_EACH };
        let mut table = count.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_address.get(&address).copied().unwrap_or(0);
        if table.all >= MOST || own >= most_each || (stranger && table.strangers >= STRANGERS) {
            return None;
        }
        table.all += 1;
        table.strangers += usize::from(stranger);
        table.by_address.insert(address, own + 1);
        Some(Self {
            address,
            stranger,
            count: Arc::clone(count),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        table.all = table.all.saturating_sub(1);
        table.strangers = table.strangers.saturating_sub(usize::from(self.stranger));
        match table.by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(table.by_address.remove(&self.address)),
        }
    }
}

/// Connections of a listener, for a tonic server, each of them one of its `guests`. Never ends by itself.
pub(crate) fn incoming(
    listener: TcpListener,
    guests: Guests,
) -> ReceiverStream<io::Result<Connection>> {
    accept(listener, Some(guests), None)
}

/// As [`incoming`] for neighbours: the addresses of the adjacencies always find a place, however many others call.
pub(crate) fn incoming_neighbours(
    listener: TcpListener,
    handle: Handle,
) -> ReceiverStream<io::Result<Connection>> {
    accept(listener, None, Some(handle))
}

/// Addresses of neighbours; at the end of the process everybody is a stranger.
async fn remotes(handle: &Handle) -> HashSet<IpAddr> {
    let remotes = handle.query(|node| {
        let sessions = node.links.values().map(|link| link.adjacency.session);
        let remotes = sessions.flatten().map(|(_, remote)| remote.to_canonical());
        remotes.collect()
    });
    remotes.await.unwrap_or_default()
}

fn accept(
    listener: TcpListener,
    guests: Option<Guests>,
    neighbours: Option<Handle>,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let count = Arc::new(Mutex::new(Count::default()));
        let mut told = None::<Instant>;
        let (mut expected, mut asked) = (HashSet::new(), None);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let trouble = match accepted {
                Ok((stream, peer)) => {
                    let address = peer.ip().to_canonical();
                    let from = match &neighbours {
                        None => From::Anywhere,
                        Some(handle) => {
                            if asked.is_none_or(|at: Instant| at.elapsed() > KNOWN) {
                                (expected, asked) = (remotes(handle).await, Some(Instant::now()));
                            }
                            if expected.contains(&address) {
                                From::Known
                            } else {
                                From::Stranger
                            }
                        }
                    };
                    if let Some(place) = Place::take(&count, address, from) {
                        // Small answers at once; a socket that refuses is only slower.
                        let _ = stream.set_nodelay(true);
                        let connection = Connection {
                            stream,
                            silent: Box::pin(sleep(SILENT)),
                            _place: place,
                            stay: guests.as_ref().map(|guests| guests.enter(peer)),
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
        let stay = self.stay.as_mut();
        if stay.is_some_and(|stay| stay.poll_over(context).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match self.silent.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

dmsc_daemon::write_through!([] Connection, stream);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let count = Arc::default();
        let (one, two) = ("10.1.1.2".parse().unwrap(), "10.1.1.3".parse().unwrap());
        let mut places: Vec<Place> = (0..MOST_EACH)
            .map(|_| Place::take(&count, one, From::Anywhere).unwrap())
            .collect();
        assert!(Place::take(&count, one, From::Anywhere).is_none());
        assert!(Place::take(&count, two, From::Anywhere).is_some());
        places.pop();
        places.push(Place::take(&count, one, From::Anywhere).unwrap());
        drop(places);
        let table = count.lock().unwrap();
        assert_eq!((table.all, table.by_address.len()), (0, 0));
    }

    #[test]
    fn a_network_of_one_subscriber_is_one_address() {
        let count = Arc::default();
        let place = |text: &str| Place::take(&count, text.parse().unwrap(), From::Anywhere);
        let held: Vec<Place> = (0..MOST_EACH)
            .map(|number| place(&format!("2001:db8:0:1::{number:x}")).unwrap())
            .collect();
        assert!(place("2001:db8:0:1:ffff::1").is_none());
        assert!(place("2001:db8:0:2::1").is_some());
        drop(held);
    }

    #[test]
    fn strangers_leave_places_for_neighbours() {
        let count = Arc::default();
        let address = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let strangers: Vec<Place> = (0..10_000)
            .filter_map(|number| Place::take(&count, address(number / 100), From::Stranger))
            .collect();
        assert_eq!(strangers.len(), STRANGERS);
        assert!(Place::take(&count, address(0), From::Known).is_some());
        drop(strangers);
        let table = count.lock().unwrap();
        assert_eq!((table.all, table.strangers), (0, 0));
    }
}
