//! The body of an answer, which holds what the call has until its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::NameBuf;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::error::HttpError;
use crate::h1::{self, Pool};
use crate::h2;
use crate::instance::Chosen;
use crate::lane::Under;

/// The body of an answer. Dropped before its end, the call is given up, and the other end told so.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    held: Option<Held>,
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
    name: NameBuf,
    under: Under,
}

/// What a call has while it is under way.
#[derive(Debug)]
pub(crate) struct Held {
    pub carrier: Carrier,
    pub _chosen: Chosen,
    pub _place: OwnedSemaphorePermit,
}

/// The connection that the call is made on.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// Its own, for the pool afterwards.
    H1(h1::Lane, Pool),
    /// Shared.
    H2(h2::Lane),
}

impl Carrier {
    pub fn under(&self) -> &Under {
        match self {
            Self::H1(lane, _) => &lane.under,
            Self::H2(lane) => &lane.under,
        }
    }
}

impl Held {
    /// The answer was read to its end.
    fn release(self) {
        if let Carrier::H1(lane, pool) = self.carrier {
            pool.put(lane);
        }
    }
}

impl Answer {
    pub(crate) fn new(body: Incoming, name: NameBuf, held: Held) -> Self {
        Self {
            body,
            under: held.carrier.under().clone(),
            held: Some(held),
            deadline: None,
            name,
        }
    }

    /// Must be read to its end by then.
    pub(crate) fn until(mut self, deadline: Instant, after: Duration) -> Self {
        self.deadline = Some((Box::pin(tokio::time::sleep_until(deadline)), after));
        self
    }

    /// The instance that answers.
    #[must_use]
    pub fn instance(&self) -> Option<dmsc_pod::Pin> {
        self.under.instance()
    }

    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            held.release();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let Some((deadline, after)) = &mut this.deadline else {
                return Poll::Pending;
            };
            ready!(deadline.as_mut().poll(context));
            let (name, after) = (this.name.clone(), *after);
            let sent = true;
            return Poll::Ready(Some(Err(HttpError::Timeout { name, after, sent })));
        };
        let frame = match frame {
            Some(Ok(frame)) => {
                if this.body.is_end_stream() {
                    this.release();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.held = None;
                Some(Err(this.under.failure(&this.name, false, error)))
            }
            None => {
                this.release();
                None
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }
}
