//! The body of an answer on its way to the program. When it has ended, the call is over, and its connection takes the next one.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::account::Account;
use super::failure::{Failure, Reason};
use super::incoming::Incoming;
use super::pool::Lent;

#[derive(Debug)]
enum Inner {
    Empty,
    Text(Bytes),
    Stream(Incoming),
}

/// An answer's body.
#[derive(Debug)]
pub struct Answer {
    inner: Inner,
    /// Both are gone when it has ended. The connection goes back first.
    lent: Option<Lent>,
    account: Option<Box<Account>>,
}

impl Answer {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self::of(Inner::Empty)
    }

    /// Of the edge's own.
    #[must_use]
    pub const fn text(text: Bytes) -> Self {
        Self::of(Inner::Text(text))
    }

    /// Of an instance.
    #[must_use]
    pub fn stream(incoming: Incoming, lent: Lent) -> Self {
        let mut answer = Self::of(Inner::Stream(incoming));
        answer.lent = Some(lent);
        answer
    }

    const fn of(inner: Inner) -> Self {
        Self {
            inner,
            lent: None,
            account: None,
        }
    }

    /// The call ends with it.
    #[must_use]
    pub fn accounted(mut self, account: Box<Account>) -> Self {
        self.account = Some(account);
        self.check();
        self
    }

    /// Ends the call if nothing is left.
    fn check(&mut self) {
        let is_over = match &self.inner {
            Inner::Stream(incoming) => incoming.is_end_stream(),
            _ => self.is_end_stream(),
        };
        if is_over {
            self.end(true);
        }
    }

    /// What a gRPC caller is told instead of a bare reset, if the connection under the answer is gone. What the program itself broke off is passed on as it is.
    fn lost(&mut self, error: &(dyn Error + 'static)) -> Option<HeaderMap> {
        let is_lost = error.downcast_ref().is_some_and(h2::Error::is_io);
        let lent = self.lent.as_ref().filter(|_| is_lost)?;
        let mut failure = Failure::new(
            Reason::Lost,
            "the connection was lost before the answer was complete",
        );
        if let Some(ended) = lent.quic().connection.ended() {
            // Nobody knows better than this end.
            failure.what = ended.to_string();
        }
        self.account.as_mut()?.lost(&failure)
    }

    fn end(&mut self, whole: bool) {
        if let Some(lent) = self.lent.take()
            && whole
        {
            lent.give_back();
        }
        if let Some(mut account) = self.account.take() {
            account.end(whole);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = match &mut this.inner {
            Inner::Empty => None,
            Inner::Text(text) if text.is_empty() => None,
            Inner::Text(text) => Some(Ok(Frame::data(std::mem::take(text)))),
            Inner::Stream(incoming) => ready!(Pin::new(incoming).poll_frame(context)),
        };
        match &polled {
            None => this.end(true),
            Some(Err(error)) => {
                let trailers = this.lost(error.as_ref());
                this.end(false);
                if let Some(trailers) = trailers {
                    this.inner = Inner::Empty;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
            Some(Ok(frame)) => {
                if let Some(account) = &mut this.account {
                    if let Some(data) = frame.data_ref() {
                        account.bytes_out += data.len() as u64;
                    } else if let Some(trailers) = frame.trailers_ref() {
                        account.trailers(trailers);
                    }
                }
                this.check();
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Text(text) => text.is_empty(),
            // Looked at after every frame: with its end the account goes.
            Inner::Stream(_) => self.account.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Text(text) => SizeHint::with_exact(text.len() as u64),
            Inner::Stream(incoming) => incoming.size_hint(),
        }
    }
}
