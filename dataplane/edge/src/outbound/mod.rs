//! Calls of the pod's programs by name.

mod account;
mod answer;
mod attempt;
mod bell;
mod caller;
mod exchange;
mod failure;
mod felt;
mod flood;
mod frames;
mod gather;
mod head;
mod headers;
pub mod http;
mod incoming;
mod passage;
mod pipe;
mod pool;
mod pulse;
mod response;
mod second;
mod trace;
mod tunnel;
mod upgrade;
mod upload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dmsc_wire::NameBuf;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

pub use account::Account;
pub(crate) use pool::Pool;
pub use tunnel::{Fate, Tunnel};

use crate::choose::{Callee, Chosen};
use crate::pod::{Context, Phase};
use crate::stats::Direction;

/// Attempts to open one stream.
const ATTEMPTS: usize = 3;
/// A connection to another pod that carries nothing is closed after so long.
const IDLE: Duration = Duration::from_secs(60);
/// Between two looks at connections that are idle.
const SWEEP: Duration = Duration::from_secs(1);

/// Where the name of a call comes from.
#[derive(Debug, Clone)]
pub enum NameSource {
    /// The host of each request.
    Host,
    /// The address that the program connected to stands for it.
    Fixed(NameBuf),
}

/// Accepts HTTP connections until the pod's phase is no longer `Running`.
pub async fn run(listener: TcpListener, context: Arc<Context>) {
    let accepting = async {
        loop {
            let (stream, permit) = accept(&listener, &context).await;
            let context = Arc::clone(&context);
            tokio::spawn(async move {
                http::serve(stream, NameSource::Host, context).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = context.until(Phase::Draining) => {}
    }
}

/// The next connection of a program, once there may be one more of them; it goes without delay.
pub async fn accept(
    listener: &TcpListener,
    context: &Context,
) -> (tokio::net::TcpStream, OwnedSemaphorePermit) {
    loop {
        // Others wait in the kernel's queue.
        let Ok(permit) = Arc::clone(&context.callers).acquire_owned().await else {
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "a connection is gone already");
                }
                return (stream, permit);
            }
            Err(error) => {
                // Out of file descriptors, for example: it passes.
                warn!(%error, "a connection was not accepted");
                context.shared.stats.error("not-accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A stream to an instance of a name; another one is tried if one takes none.
///
/// # Errors
/// Why the last that was tried did not take it; `None`: nobody serves the name.
pub async fn open(
    callee: &Callee,
    context: &Context,
    deadline: Instant,
) -> Result<(Tunnel, Chosen), Option<dmsc_quic::QuicError>> {
    let mut tried = Vec::new();
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let Some(chosen) = callee.choose(&tried, deadline).await else {
            return Err(last);
        };
        match tokio::time::timeout_at(deadline.into(), callee.dial(&chosen, context)).await {
            Ok(Ok(tunnel)) => return Ok((tunnel, chosen)),
            Ok(Err(error)) => {
                chosen.rest();
                tried.push(chosen.pin);
                last = Some(error);
            }
            Err(_) => {
                return Err(
                    last.or_else(|| Some(dmsc_quic::QuicError::Timeout(callee.name.clone())))
                );
            }
        }
    }
    Err(last)
}

/// Closes what is not used any more, until the pod ends.
pub(crate) async fn sweep(context: Arc<Context>) {
    let sweeping = async {
        loop {
            tokio::time::sleep(SWEEP).await;
            for callee in context.chooser.callees() {
                for instance in callee.instances.all() {
                    instance.kept.pool.sweep();
                }
            }
            for quic in context.shared.stats.quic_connections() {
                let retired = !quic.connection.is_open();
                let limit = if retired { Duration::ZERO } else { IDLE };
                if quic.direction == Direction::Out && quic.is_idle(limit) {
                    quic.connection.close();
                }
            }
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = context.until(Phase::Ended) => {}
    }
}
