//! The body of a call, kept until its answer comes, so that the call can be made elsewhere when it was not taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::error::BoxError;

/// A body of a request.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Any body as [`AnyBody`].
pub(crate) fn any<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// The body, and what was read of it.
#[derive(Debug)]
pub(crate) struct Source(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    body: AnyBody,
    pieces: Vec<Piece>,
    bytes: usize,
    limit: usize,
    /// Whether all that was read is in `pieces`.
    complete: bool,
    keeping: bool,
    ended: bool,
    /// The attempt that reads; earlier ones are over, even if their connection does not know yet.
    attempt: u32,
}

#[derive(Debug, Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// The body as one attempt sends it.
#[derive(Debug)]
pub(crate) struct Replay {
    kept: Arc<Mutex<Kept>>,
    attempt: u32,
    at: usize,
}

impl Source {
    pub fn new(body: AnyBody, limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            body,
            pieces: Vec::new(),
            bytes: 0,
            limit,
            complete: true,
            keeping: true,
            ended: false,
            attempt: 0,
        })))
    }

    /// From its beginning, for another attempt; `None` when too much of it was read.
    pub fn replay(&self) -> Option<Replay> {
        let mut kept = lock(&self.0);
        if !kept.complete {
            return None;
        }
        kept.attempt += 1;
        Some(Replay {
            kept: Arc::clone(&self.0),
            attempt: kept.attempt,
            at: 0,
        })
    }

    /// The answer has come: there is no other attempt.
    pub fn settle(&self) {
        lock(&self.0).keeping = false;
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        if !self.keeping || self.bytes > self.limit {
            self.keeping = false;
            self.complete = false;
            self.pieces = Vec::new();
        } else if let Some(data) = frame.data_ref() {
            self.pieces.push(Piece::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.pieces.push(Piece::Trailers(trailers.clone()));
        }
    }
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

impl Body for Replay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut kept = lock(&this.kept);
        if kept.attempt != this.attempt {
            return Poll::Ready(Some(Err("the call is made elsewhere".into())));
        }
        if let Some(piece) = kept.pieces.get(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(piece.clone().into())));
        }
        if kept.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut kept.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                kept.keep(frame);
                this.at = kept.pieces.len();
            }
            Some(Err(_)) => kept.complete = false,
            None => kept.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let kept = lock(&self.kept);
        self.at >= kept.pieces.len() && (kept.ended || kept.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = lock(&self.kept);
        let ahead: usize = kept
            .pieces
            .iter()
            .skip(self.at)
            .map(|piece| match piece {
                Piece::Data(data) => data.len(),
                Piece::Trailers(_) => 0,
            })
            .sum();
        let (ahead, rest) = (ahead as u64, kept.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use tokio_stream::iter;

    use super::*;

    async fn read(mut body: Replay, frames: usize) -> (Vec<u8>, Replay) {
        let mut all = Vec::new();
        for _ in 0..frames {
            let Some(frame) = body.frame().await else {
                break;
            };
            all.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        (all, body)
    }

    fn pieces() -> AnyBody {
        let frame = |text: &'static str| Ok::<_, BoxError>(Frame::data(Bytes::from(text)));
        any(StreamBody::new(iter(["ab", "cd", "ef"].map(frame))))
    }

    #[tokio::test]
    async fn another_attempt_begins_at_the_beginning_and_an_old_one_reads_nothing_more() {
        let source = Source::new(pieces(), 100);
        let (read_first, mut old) = read(source.replay().unwrap(), 2).await;
        assert_eq!(read_first, b"abcd");
        let second = source.replay().unwrap();
        assert!(old.frame().await.unwrap().is_err());
        assert_eq!(read(second, 9).await.0, b"abcdef");
        // And a third when all was read.
        assert_eq!(read(source.replay().unwrap(), 9).await.0, b"abcdef");
    }

    #[tokio::test]
    async fn what_is_too_much_is_sent_once() {
        let source = Source::new(pieces(), 3);
        let (all, _) = read(source.replay().unwrap(), 9).await;
        assert_eq!(all, b"abcdef");
        assert!(source.replay().is_none());
    }

    #[tokio::test]
    async fn an_answer_before_the_body_has_ended_loses_nothing() {
        let source = Source::new(pieces(), 100);
        read(source.replay().unwrap(), 3).await;
        let (first, body) = read(source.replay().unwrap(), 1).await;
        source.settle();
        let (rest, _) = read(body, 9).await;
        assert_eq!((first, rest), (b"ab".to_vec(), b"cdef".to_vec()));
    }

    #[tokio::test]
    async fn its_size_is_known_every_time() {
        let source = Source::new(
            any(Full::new(Bytes::from("hello")).map_err(BoxError::from)),
            9,
        );
        for _ in 0..2 {
            let body = source.replay().unwrap();
            assert_eq!(body.size_hint().exact(), Some(5));
            let (all, body) = read(body, 9).await;
            assert_eq!(all, b"hello");
            assert!(body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some(0));
        }
    }
}
