//! HTTP/2 of a program: one task for a connection and all of its calls.
//!
//! A call that begins or goes on is looked at in the turn of the connection that brings it, and what all of them say in a turn leaves as one write. Nothing is
//! woken between them: neither a task nor a channel stands between a request that came and the connection that it leaves on.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use h2::Reason;
use h2::server::{Builder, Connection};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;
use tokio::time::sleep_until;
use tracing::debug;

use super::NameSource;
use super::bell::Bell;
use super::caller::Caller;
use super::exchange;
use super::gather::Gather;
use super::http::{FAREWELL, FAREWELL_BYTES, MAX_HEAD};
use super::pulse::Pulse;
use crate::pod::{Context, Phase};
use crate::tcp::Rewound;

/// Bytes of calls and of answers that wait.
const BUFFER: usize = 128 << 10;
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const STREAMS: u32 = 256;
const RESETS: usize = 20;
/// Looks at calls and connection in one turn.
const ROUNDS: usize = 64;
/// Between two looks whether it is quiet.
const LOOK: Duration = Duration::from_secs(10);
/// Whoever was told to go has gone after so long.
const LEAVE: Duration = Duration::from_secs(5);

/// Serves a connection that began with `bytes` until it ends.
pub async fn serve<I>(bytes: Bytes, io: I, names: NameSource, context: Arc<Context>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Pulse::new(false);
    let gather = Gather::new(Rewound::new(bytes, io));
    let handshake = Builder::new()
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(RESETS))
        // Twice what is taken, so that a head that is longer is answered with a reason.
        .max_header_list_size(2 * MAX_HEAD as u32)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(BUFFER)
        .handshake::<_, Bytes>(gather.clone());
    // All that it waits for is there.
    let connection = match tokio::time::timeout(LOOK, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(%error, "an HTTP/2 connection did not begin"),
        Err(_) => return,
    };
    let caller = Arc::new(Caller::new(Arc::clone(&context), names, Arc::clone(&pulse)));
    let mut turns = Turns::new(connection, gather, caller, pulse.clone(), exchange::run);
    let mut drain = pin!(context.until(Phase::Draining));
    let mut closing = false;
    let mut look = pin!(sleep_until((Instant::now() + LOOK).into()));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|task| turns.poll(task)) => {
                let Err(over) = ended else { return };
                debug!(error = %over, "an HTTP/2 connection ended");
                if over.is_flood() {
                    context.shared.stats.error("flood");
                }
                if matches!(over, Over::Flood) {
                    let _ = tokio::time::timeout(FAREWELL, turns.part()).await;
                }
                return;
            }
            () = &mut drain, if !closing => {
                closing = true;
                turns.connection.graceful_shutdown();
            }
            () = &mut look => match pulse.check() {
                Ok(next) => look.as_mut().reset(next.into()),
                // It was told to go, and stays.
                Err(_) if closing => return,
                Err(_) => {
                    closing = true;
                    turns.connection.graceful_shutdown();
                    look.as_mut().reset((Instant::now() + LEAVE).into());
                }
            },
        }
    }
}

/// How a connection ended that did not come to its end.
#[derive(Debug, Error)]
enum Over {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] h2::Error),
    /// It has not ended yet.
    #[error("the program says too many settings and pings")]
    Flood,
}

impl Over {
    /// Of any kind: the library ends most by itself.
    fn is_flood(&self) -> bool {
        match self {
            Self::Io(_) => false,
            Self::Http(error) => {
                error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
            }
            Self::Flood => true,
        }
    }
}

type Request = http::Request<h2::RecvStream>;
type Respond = h2::server::SendResponse<Bytes>;

/// A connection, and what goes on on it.
struct Turns<I, F, B> {
    connection: Connection<Gather<I>, Bytes>,
    gather: Gather<I>,
    caller: Arc<Caller>,
    pulse: Arc<Pulse>,
    begin: B,
    calls: FuturesUnordered<F>,
    /// Rung when the connection is to be looked at, and when a call is.
    bells: [Arc<Bell>; 2],
    wakers: [Waker; 2],
}

impl<I, F, B> Turns<I, F, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    B: Fn(Arc<Caller>, Request, Respond) -> F,
{
    fn new(
        connection: Connection<Gather<I>, Bytes>,
        gather: Gather<I>,
        caller: Arc<Caller>,
        pulse: Arc<Pulse>,
        begin: B,
    ) -> Self {
        let bells = [Bell::new(), Bell::new()];
        let wakers = bells.each_ref().map(|bell| Waker::from(Arc::clone(bell)));
        Self {
            connection,
            gather,
            caller,
            pulse,
            begin,
            calls: FuturesUnordered::new(),
            bells,
            wakers,
        }
    }

    /// Until the connection has ended, or is to be ended.
    fn poll(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Over>> {
        for bell in &self.bells {
            bell.begin(task.waker());
        }
        let ended = self.turn();
        for bell in &self.bells {
            bell.end();
        }
        if let Poll::Ready(ended) = ended {
            return Poll::Ready(ended.map_err(Over::from));
        }
        if self.gather.is_flooded() {
            return Poll::Ready(Err(Over::Flood));
        }
        match self.gather.poll_push(task) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) if self.pulse.is_quiet() => self.gather.shrink(),
            _ => {}
        }
        Poll::Pending
    }

    /// Looks at calls and connection until neither has anything more to say to the other.
    fn turn(&mut self) -> Poll<Result<(), h2::Error>> {
        let [connection_bell, calls_bell] = &self.bells;
        let [connection_waker, calls_waker] = &self.wakers;
        for _ in 0..ROUNDS {
            calls_bell.take();
            let mut context = Task::from_waker(calls_waker);
            // A budget of the runtime, once it is used up, would have them ring without end.
            while let Poll::Ready(Some(())) =
                pin!(unconstrained(self.calls.next())).poll(&mut context)
            {}
            connection_bell.take();
            let mut context = Task::from_waker(connection_waker);
            let mut began = false;
            loop {
                match self.connection.poll_accept(&mut context) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let caller = Arc::clone(&self.caller);
                        self.calls.push((self.begin)(caller, request, respond));
                        began = true;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            // Of the connection's own bell its task is told, if it rang after the last look.
            if !(began || calls_bell.take()) {
                return Poll::Pending;
            }
        }
        // It is the turn of others.
        calls_waker.wake_by_ref();
        Poll::Pending
    }

    /// Ends it with all of its calls, says why, and reads for a while what the program had under way.
    async fn part(mut self) {
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.calls.clear();
        let said = poll_fn(|task| self.connection.poll_closed(task)).await;
        if said.is_ok() {
            let mut left = FAREWELL_BYTES;
            let _ = poll_fn(|task| self.gather.poll_forget(&mut left, task)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_call_is_small() {
        let begin: fn(Arc<Caller>, Request, Respond) -> _ = exchange::run;
        assert!(size(begin) <= 5_000, "{}", size(begin));
    }
}
