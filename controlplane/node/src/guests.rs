//! Who is connected to a listener: whoever's certificate the root takes back is let go at once, not at the next call.

use std::collections::HashMap;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use dmsc_spa::verify::{Certificate, RootKey};
use tokio::sync::{oneshot, watch};
use tonic::Request;
use tracing::info;

/// Streams that end say why; so long has the sentence to get out before the connection is closed under it.
const FAREWELL: Duration = Duration::from_millis(200);

/// Connections of one listener by the address of the other end.
#[derive(Clone, Default)]
pub struct Guests(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    by_address: HashMap<SocketAddr, Guest>,
    entered: u64,
}

struct Guest {
    number: u64,
    /// Of its first call.
    certificate: Option<Certificate>,
    go: oneshot::Sender<()>,
}

/// The place of a connection; left when dropped.
pub(crate) struct Stay {
    from: SocketAddr,
    number: u64,
    all: Guests,
    /// `None` once nobody will tell any more.
    go: Option<oneshot::Receiver<()>>,
}

impl Guests {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more connection.
    pub(crate) fn enter(&self, from: SocketAddr) -> Stay {
        let (sender, go) = oneshot::channel();
        let mut table = self.table();
        table.entered += 1;
        let number = table.entered;
        let guest = Guest {
            number,
            certificate: None,
            go: sender,
        };
        table.by_address.insert(from, guest);
        Stay {
            from,
            number,
            all: self.clone(),
            go: Some(go),
        }
    }

    /// Notes whose connection a call came by, once the call was found good.
    pub(crate) fn greet<T>(&self, request: &Request<T>, root: &RootKey) {
        let Some(from) = request.remote_addr() else {
            return;
        };
        let mut table = self.table();
        let Some(guest) = table.by_address.get_mut(&from) else {
            return;
        };
        if guest.certificate.is_none() {
            let chain = request.peer_certs();
            let der = chain.as_deref().and_then(|chain| chain.first());
            guest.certificate = der.and_then(|der| root.certificate_of_any_time(der).ok());
        }
        // Taken back after the call was judged, and before it was known whose connection this is.
        let late = |one: &Certificate| root.has_revoked(one);
        let late = guest.certificate.as_ref().is_some_and(late);
        drop(table);
        if late {
            self.let_go(root);
        }
    }

    fn let_go(&self, root: &RootKey) {
        let revoked = |guest: &Guest| {
            let certificate = guest.certificate.as_ref();
            certificate.is_some_and(|one| root.has_revoked(one))
        };
        let mut table = self.table();
        let gone: Vec<(SocketAddr, Guest)> = table
            .by_address
            .extract_if(|_, guest| revoked(guest))
            .collect();
        drop(table);
        if gone.is_empty() {
            return;
        }
        for (from, guest) in &gone {
            let who = guest
                .certificate
                .as_ref()
                .map(|one| one.identity.to_string());
            info!(%from, who, "its certificate was revoked by the root; the connection ends");
        }
        tokio::spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            for (_, guest) in gone {
                // It may have gone by itself.
                let _ = guest.go.send(());
            }
        });
    }

    /// Lets go whoever lost its certificate, each time that `revoked` tells of something that was taken back.
    pub(crate) async fn watch(self, root: RootKey, mut revoked: watch::Receiver<usize>) {
        while revoked.changed().await.is_ok() {
            self.let_go(&root);
        }
    }
}

impl Stay {
    /// Ready when the connection is to end.
    pub(crate) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(go) = &mut self.go else {
            return Poll::Pending;
        };
        match Pin::new(go).poll(context) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                self.go = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut table = self.all.table();
        // The address may be another connection's by now.
        let own = table.by_address.get(&self.from);
        if own.is_some_and(|guest| guest.number == self.number) {
            table.by_address.remove(&self.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_left_by_whoever_has_it() {
        let guests = Guests::default();
        let from = "127.0.0.1:7".parse().unwrap();
        let first = guests.enter(from);
        let second = guests.enter(from);
        drop(first);
        assert_eq!(guests.table().by_address.len(), 1);
        drop(second);
        assert!(guests.table().by_address.is_empty());
    }
}
