//! The port's life: attached while the gateway has it, and tried again when it went away.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dmsc_vhost::{Config, Line, Port, VhostError};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::{MAX_FRAME, Shared, lock};
use crate::counters::count;
use crate::error::PodError;
use crate::pod::Inner;
use crate::session::{Place, Registered};

/// Between attempts: the first, doubled up to the last.
const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(1);
/// The last where the gateway does not let the pod have the port, which somebody would have to change.
const LAST_REFUSED: Duration = Duration::from_secs(10);
/// A port that was good for so long before its device broke the rules is had again at once.
const GOOD: Duration = Duration::from_secs(60);
/// How long the gateway may take to answer ARP.
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
    let mut life = Life {
        shared,
        told: false,
        pause: FIRST,
        rest: None,
        attempt: None,
    };
    while !inner.session.is_closed() {
        // The gateway hears that packets go by the socket as soon as it can, unless the port is back before.
        let port = tokio::select! {
            biased;
            port = life.connect() => port,
            () = back(&inner) => continue,
        };
        match attach(&inner, shared, port).await {
            Ok(line) => {
                let port = &shared.attachment.port;
                info!(port, "packets go over shared memory");
                life.told = false;
                shared.tried.send_replace(true);
                let since = Instant::now();
                hold(&inner, shared, line).await;
                info!(port, "shared memory is gone; packets go by UDP");
                shared.down();
                inner.session.narrow();
                if shared.failed.load(Relaxed) {
                    count(&inner.counters.shared_given_up);
                    life.lied(since.elapsed());
                } else {
                    life.pause = FIRST;
                }
            }
            Err(error) => {
                shared.down();
                if shared.failed.load(Relaxed) {
                    count(&inner.counters.shared_given_up);
                }
                life.failed(&error).await;
            }
        }
    }
}

/// Attempts to have the port.
struct Life<'a> {
    shared: &'a Shared,
    /// Whether it was said that there is none.
    told: bool,
    pause: Duration,
    /// No attempt before: the device broke the rules.
    rest: Option<Instant>,
    /// What is under way: a second one beside it would find the port taken.
    attempt: Option<JoinHandle<Result<Port, VhostError>>>,
}

impl Life<'_> {
    async fn connect(&mut self) -> Port {
        if let Some(rest) = self.rest {
            sleep_until(rest).await;
            self.rest = None;
        }
        loop {
            let path = self.shared.attachment.socket.clone();
            let config = Config {
                max_frame: MAX_FRAME,
                ..Config::default()
            };
            // It waits for answers on a socket that knows no tasks.
            let begin = || tokio::task::spawn_blocking(move || Port::connect(&path, config));
            let port = self.attempt.get_or_insert_with(begin).await;
            self.attempt = None;
            match port.map_err(io::Error::other) {
                Ok(Ok(port)) => return port,
                Ok(Err(error)) => self.failed(&error.into()).await,
                // The runtime ends.
                Err(error) => self.failed(&error.into()).await,
            }
        }
    }

    /// The device broke the rules after a while: whoever does so again and again is asked less and less.
    fn lied(&mut self, after: Duration) {
        if after >= GOOD {
            self.pause = FIRST;
        }
        self.rest = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LAST_REFUSED);
    }

    /// Says so once, and waits for the next attempt.
    async fn failed(&mut self, error: &NoPort) {
        if self.told {
            debug!(%error, "shared memory");
        } else {
            let socket = self.shared.attachment.socket.display();
            warn!(%error, %socket, "no shared memory; packets go by UDP until there is");
            self.told = true;
        }
        self.shared.tried.send_replace(true);
        appears(&self.shared.attachment.socket).await;
        sleep(self.pause).await;
        let refused = matches!(error, NoPort::Registrar(error) if !error.is_temporary());
        let last = if refused { LAST_REFUSED } else { LAST };
        self.pause = (self.pause * 2).min(last);
    }
}

/// Until there is a file of that name, for which nothing is looked at again and again. Where its folder cannot be watched: for a while.
async fn appears(path: &Path) {
    loop {
        // Before the look, or one that comes in between would be missed.
        let folder = watch(path);
        if path.exists() {
            return;
        }
        match folder {
            Ok(folder) => drop(folder.readable().await),
            Err(error) => {
                debug!(%error, path = %path.display(), "its folder cannot be watched");
                return sleep(LAST).await;
            }
        }
    }
}

/// Becomes readable when a file of the folder that `path` is in comes or goes.
fn watch(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let what = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
    inotify::add_watch(&events, folder, what)?;
    watched(events)
}

/// Sees to it that the gateway sends to the socket; ready when that had to be said, and was.
async fn back(inner: &Inner) {
    let mut pause = FIRST;
    while !inner.session.is_at_socket().await {
        match inner.session.move_to(Place::Socket).await {
            Ok(registered) => {
                inner.session.publish(registered);
                return;
            }
            Err(error) => debug!(%error, "not moved to UDP yet"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST);
    }
    std::future::pending().await
}

/// Registers on the port, and finds the gateway.
async fn attach(inner: &Inner, shared: &Shared, port: Port) -> Result<AsyncFd<Line>, NoPort> {
    let line = watched(port.line)?;
    shared.failed.store(false, Relaxed);
    shared.gateway.store(0, Relaxed);
    shared.gateway_mac.send_replace(None);
    *lock(&shared.outgoing) = Some(Outgoing::new(port.transmit));
    *lock(&shared.incoming) = Some(Incoming::new(port.receive)?);
    shared.wake();
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
    let mut pause = FIRST;
    let registered = loop {
        // So that the gateway knows where to send before it does.
        shared.ask(shared.attachment.address);
        match inner.session.move_to(place.clone()).await {
            // A gateway that has just started has its port before its registrar can be reached.
            Err(error) if error.is_temporary() && !inner.session.is_closed() => {
                debug!(%error, "not moved to shared memory yet");
                tokio::select! {
                    _ = line.readable() => {}
                    () = sleep(pause) => {}
                }
                if line.get_ref().is_down() {
                    return Err(NoPort::Gone);
                }
                pause = (pause * 2).min(LAST);
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
