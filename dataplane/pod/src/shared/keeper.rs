//! The port's life: attached while the gateway has it, and tried again when it went away.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dmsc_vhost::{Config, Line, Port, VhostError};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::{MAX_FRAME, Shared, lock};
use crate::error::PodError;
use crate::pod::Inner;
use crate::session::{Place, Registered};

/// Between attempts: the first, doubled up to the last.
const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(1);
/// How long the gateway may take for all that makes a port useful: registration and ARP.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no port now.
#[derive(Debug, Error)]
enum NoPort {
    #[error(transparent)]
    Device(#[from] VhostError),
    #[error(transparent)]
    Registrar(#[from] PodError),
    #[error("shared memory: {0}")]
    Descriptor(#[from] io::Error),
    #[error("the gateway's address on port {port:?} is {address}, not one of IPv4")]
    Address { port: String, address: IpAddr },
    #[error("the gateway does not answer ARP on port {port:?}")]
    Silent { port: String },
    #[error("the gateway went away")]
    Gone,
}

/// The task: until the pod ends.
pub(crate) async fn keep(inner: Arc<Inner>) {
    let Some(shared) = &inner.shared else {
        return;
    };
    let mut pause = FIRST;
    let mut told = false;
    loop {
        match attach(&inner, shared).await {
            Ok(line) => {
                let port = &shared.attachment.port;
                info!(port, "packets go over shared memory");
                (pause, told) = (FIRST, false);
                shared.tried.send_replace(true);
                hold(&inner, shared, line).await;
                info!(port, "shared memory is gone; packets go by UDP");
            }
            Err(error) if told => debug!(%error, "shared memory"),
            Err(error) => {
                let socket = shared.attachment.socket.display();
                warn!(%error, %socket, "no shared memory; packets go by UDP until there is");
                told = true;
            }
        }
        shared.down();
        // What is known of the other way holds at once; the gateway hears of it when it can.
        inner.session.narrow();
        if inner.session.place().await != Place::Socket {
            match inner.session.move_to(Place::Socket).await {
                Ok(registered) => inner.session.publish(registered),
                Err(error) => debug!(%error, "not moved to UDP yet"),
            }
        }
        shared.tried.send_replace(true);
        sleep(pause).await;
        pause = (pause * 2).min(LAST);
    }
}

/// Attaches, registers there, and finds the gateway.
async fn attach(inner: &Inner, shared: &Shared) -> Result<AsyncFd<Line>, NoPort> {
    let path = shared.attachment.socket.clone();
    let config = Config {
        max_frame: MAX_FRAME,
        ..Config::default()
    };
    // It waits for answers on a socket that knows no tasks.
    let port = tokio::task::spawn_blocking(move || Port::connect(&path, config)).await;
    let port = port.map_err(io::Error::other)??;
    let line = watched(port.line)?;
    shared.failed.store(false, Relaxed);
    shared.gateway.store(0, Relaxed);
    shared.gateway_mac.send_replace(None);
    *lock(&shared.outgoing) = Some(Outgoing::new(port.transmit));
    *lock(&shared.incoming) = Some(Incoming::new(port.receive)?);
    if let Some(reader) = lock(&shared.reader).take() {
        reader.wake();
    }
    // So that the gateway knows where to send before it does.
    shared.ask(shared.attachment.address);
    let (registered, gateway) = register(inner, shared, &line).await?;
    shared.gateway.store(gateway.into(), Relaxed);
    find(shared, gateway).await?;
    inner.session.publish(registered);
    shared.set_up(true);
    if shared.failed.load(Relaxed) {
        return Err(NoPort::Gone);
    }
    Ok(line)
}

async fn register(
    inner: &Inner,
    shared: &Shared,
    line: &AsyncFd<Line>,
) -> Result<(Registered, Ipv4Addr), NoPort> {
    let place = Place::Shared {
        port: shared.attachment.port.clone(),
        address: shared.attachment.address,
    };
    let end = Instant::now() + PATIENCE;
    let mut pause = FIRST;
    let registered = loop {
        match inner.session.move_to(place.clone()).await {
            // A gateway that has just started has its port before its registrar knows.
            Err(error) if error.is_temporary() && Instant::now() < end => {
                if line.get_ref().is_down() {
                    return Err(NoPort::Gone);
                }
                debug!(%error, "not moved to shared memory yet");
                sleep(pause).await;
                pause *= 2;
            }
            other => break other?,
        }
    };
    match registered.shared {
        Some(IpAddr::V4(gateway)) => Ok((registered, gateway)),
        address => Err(NoPort::Address {
            port: shared.attachment.port.clone(),
            address: address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        }),
    }
}

/// Asks for the gateway until it answers.
async fn find(shared: &Shared, gateway: Ipv4Addr) -> Result<(), NoPort> {
    let mut heard = shared.gateway_mac.subscribe();
    let end = Instant::now() + PATIENCE;
    let mut pause = FIRST;
    while Instant::now() < end {
        shared.ask(gateway);
        let found = timeout(pause, heard.wait_for(Option::is_some)).await;
        if matches!(found, Ok(Ok(_))) {
            return Ok(());
        }
        pause *= 2;
    }
    Err(NoPort::Silent {
        port: shared.attachment.port.clone(),
    })
}

/// Until the gateway goes away, or the port is of no use any more.
async fn hold(inner: &Inner, shared: &Shared, line: AsyncFd<Line>) {
    let room = lock(&shared.outgoing).as_ref().map(Outgoing::room);
    let Some(Ok(room)) = room.map(watched) else {
        return;
    };
    let mut registered = inner.session.subscribe();
    loop {
        tokio::select! {
            readable = line.readable() => match readable {
                Ok(mut readable) if !line.get_ref().is_down() => readable.clear_ready(),
                _ => return,
            },
            ready = room.readable() => match ready {
                Ok(mut ready) => {
                    ready.clear_ready();
                    shared.room.notify_waiters();
                }
                Err(_) => return,
            },
            // What was told of the port before this one is over.
            () = shared.broken.notified() => if !shared.is_up() {
                return;
            },
            changed = registered.changed() => {
                // The registrar had forgotten the pod, and does not let it have the port any more.
                if changed.is_err() || registered.borrow_and_update().shared.is_none() {
                    return;
                }
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "unsound for what does not own its descriptor only, which these do; the replacement is unsafe for all"
)]
pub(super) fn watched<T: AsRawFd>(what: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(what, Interest::READABLE)
}
