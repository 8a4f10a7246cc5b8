//! Requests on their way in: who may ask is judged before a body is read, and all bodies together take a bounded amount of memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Request, Status};

/// Bytes of bodies in all, and from one address: a few of the largest registrations, and thousands of usual ones.
const ALL: usize = 128 << 20;
const EACH: usize = 40 << 20;
/// What one call may send before it is read; a connection twice that.
pub(crate) const WINDOW: u32 = 128 << 10;
/// A body that is not there after this long is given up, so that nobody keeps a share by being slow.
const SLOW: Duration = Duration::from_secs(30);

/// What bodies take now.
#[derive(Debug, Default)]
struct Table {
    by_address: HashMap<IpAddr, usize>,
    all: usize,
}

/// Bytes of one request; given back when it is answered.
#[derive(Debug)]
struct Share {
    table: Arc<Mutex<Table>>,
    address: IpAddr,
    bytes: Mutex<usize>,
}

impl Share {
    fn take(&self, more: usize) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_address.get(&self.address).copied().unwrap_or(0);
        if table.all + more > ALL || own + more > EACH {
            return false;
        }
        table.all += more;
        table.by_address.insert(self.address, own + more);
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let bytes = *self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.all = table.all.saturating_sub(bytes);
        match table.by_address.get_mut(&self.address) {
            Some(own) if *own > bytes => *own -= bytes,
            _ => drop(table.by_address.remove(&self.address)),
        }
    }
}

/// A body that is counted while it is read.
struct Counted {
    inner: Body,
    share: Arc<Share>,
    slow: Pin<Box<Sleep>>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if !self.share.take(bytes) {
                    let words = "too many large requests at once; try again in a second";
                    return Poll::Ready(Some(Err(Status::resource_exhausted(words))));
                }
            }
            Poll::Pending if self.slow.as_mut().poll(context).is_ready() => {
                let words = "the request did not arrive in time";
                return Poll::Ready(Some(Err(Status::deadline_exceeded(words))));
            }
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// Who may ask at all, by certificate and address.
pub(crate) type May = Arc<dyn Fn(&Request<()>) -> Result<(), Status> + Send + Sync>;

/// A service with bounded bodies. For calls with one request, which is in memory until it is answered.
#[derive(Clone)]
pub(crate) struct Bounded<S> {
    inner: S,
    may: May,
    table: Arc<Mutex<Table>>,
}

impl<S> Bounded<S> {
    /// Around `inner`, for whom `may` lets in.
    pub fn new(inner: S, may: May) -> Self {
        Self {
            inner,
            may,
            table: Arc::default(),
        }
    }
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Bounded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let extensions = std::mem::take(&mut parts.extensions);
        let asking = Request::from_parts(MetadataMap::new(), extensions, ());
        if let Err(status) = (self.may)(&asking) {
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let address = asking
            .remote_addr()
            .map_or(Ipv4Addr::UNSPECIFIED.into(), |from| {
                from.ip().to_canonical()
            });
        let share = Arc::new(Share {
            table: Arc::clone(&self.table),
            address,
            bytes: Mutex::new(0),
        });
        let body = Body::new(Counted {
            inner: body,
            share: Arc::clone(&share),
            slow: Box::pin(sleep(SLOW)),
        });
        parts.extensions = asking.into_parts().1;
        let answered = self.inner.call(http::Request::from_parts(parts, body));
        Box::pin(async move {
            let response = answered.await;
            // What was decoded is in memory until here.
            drop(share);
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_shares_and_give_them_back() {
        let table: Arc<Mutex<Table>> = Arc::default();
        let share = |last| Share {
            table: Arc::clone(&table),
            address: Ipv4Addr::new(10, 1, 1, last).into(),
            bytes: Mutex::new(0),
        };
        let one = share(1);
        assert!(one.take(EACH));
        assert!(!share(1).take(1), "an address has its share");
        let others: Vec<Share> = (2..).map(share).take_while(|one| one.take(EACH)).collect();
        assert_eq!(others.len() + 1, ALL / EACH);
        drop((one, others));
        let table = table.lock().unwrap();
        assert_eq!((table.all, table.by_address.len()), (0, 0));
    }
}
