//! Memory that the pod shares with its gateway: a second way for its packets, which costs no system call per packet and carries frames of 9,000 bytes.
//!
//! `frame`: what is around a packet there; `outgoing`, `incoming`: both directions; `keeper`: the port's life. The UDP socket stays open beside it, and is the way
//! whenever this one is down.

mod frame;
mod incoming;
mod keeper;
mod outgoing;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{
    AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use dmsc_vhost::VhostError;
use dmsc_wire::UDP_PORT;
use tokio::sync::{Notify, watch};
use tracing::warn;

use frame::{End, Mac, OUTER};
use incoming::Incoming;
pub(crate) use keeper::keep;
pub(crate) use outgoing::Outgoing;

/// Longest frame in bytes: an IP packet of 9,000, and what Ethernet may put around it.
const MAX_FRAME: usize = 9_018;
/// Longest packet that fits it.
pub(crate) const MAX_PACKET: usize = MAX_FRAME - OUTER;

/// A vhost-user port of the gateway, on which the pod may be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedAttachment {
    /// Socket on which the gateway listens. Its folder must be writable: a file beside it says who is attached.
    pub socket: PathBuf,
    /// Name of the gateway's port.
    pub port: String,
    /// The pod's address on that port.
    pub address: Ipv4Addr,
}

/// The way by shared memory, whether it is up or not.
pub(crate) struct Shared {
    pub attachment: SharedAttachment,
    own: End,
    /// Whether packets go that way.
    up: AtomicBool,
    outgoing: Mutex<Option<Outgoing>>,
    incoming: Mutex<Option<Incoming>>,
    /// The gateway's address on the port, once it was told.
    gateway: AtomicU32,
    /// And its MAC address, once it was heard.
    gateway_mac: watch::Sender<Option<Mac>>,
    /// Whoever waits for packets: woken when there is another port, or none.
    reader: Mutex<Option<Waker>>,
    /// There may be room again.
    room: Notify,
    /// The port is of no use any more: told, and since the last attempt.
    broken: Notify,
    failed: AtomicBool,
    /// The first attempt is over.
    tried: watch::Sender<bool>,
}

impl Shared {
    pub fn new(attachment: SharedAttachment, udp_port: u16) -> Shared {
        let [a, b, c, d] = attachment.address.octets();
        let own = End {
            // Locally administered. The same for whoever has this address next, so that the gateway need not learn another.
            mac: [2, 100, a, b, c, d],
            address: attachment.address,
            port: udp_port,
        };
        Shared {
            attachment,
            own,
            up: AtomicBool::new(false),
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            gateway: AtomicU32::new(0),
            gateway_mac: watch::Sender::new(None),
            reader: Mutex::default(),
            room: Notify::new(),
            broken: Notify::new(),
            failed: AtomicBool::new(false),
            tried: watch::Sender::new(false),
        }
    }

    /// Whether packets go this way at the moment.
    pub fn is_up(&self) -> bool {
        self.up.load(Acquire)
    }

    fn gateway(&self) -> Ipv4Addr {
        self.gateway.load(Relaxed).into()
    }

    fn set_up(&self, up: bool) {
        self.up.store(up, Release);
    }

    /// Until the first attempt is over.
    pub async fn tried(&self) {
        // Its sender is here.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// Sends packets by this way, together. `None`: it is down, take the other one.
    pub fn send(
        &self,
        push: impl FnOnce(&mut Outgoing) -> io::Result<()>,
    ) -> Option<io::Result<()>> {
        if !self.is_up() {
            return None;
        }
        let mut slot = lock(&self.outgoing);
        let outgoing = slot.as_mut()?;
        let result = push(outgoing);
        // Also what was pushed before there was no room.
        if let Err(error) = outgoing.flush() {
            drop(slot);
            self.fail(&error);
            return None;
        }
        Some(result)
    }

    /// Until there may be room for a packet.
    pub async fn writable(&self) {
        let room = self.room.notified();
        tokio::pin!(room);
        // Before the look, or what comes in between would be missed.
        room.as_mut().enable();
        let full = match lock(&self.outgoing).as_mut() {
            Some(outgoing) => outgoing.arm(),
            None => Ok(false),
        };
        match full {
            Ok(true) => room.await,
            Ok(false) => {}
            Err(error) => self.fail(&error),
        }
    }

    /// The device did what it must not: the keeper lets go of it.
    fn fail(&self, error: &VhostError) {
        if self.up.swap(false, Release) {
            warn!(%error, "shared memory is given up; packets go by UDP");
        }
        self.failed.store(true, Release);
        self.broken.notify_one();
    }

    /// Nothing goes this way any more.
    pub fn down(&self) {
        self.set_up(false);
        *lock(&self.outgoing) = None;
        *lock(&self.incoming) = None;
        self.wake();
        self.gateway_mac.send_replace(None);
        self.room.notify_waiters();
    }

    /// Lets whoever waits for packets look where they come from now.
    fn wake(&self) {
        if let Some(reader) = lock(&self.reader).take() {
            reader.wake();
        }
    }

    fn from(&self) -> (Ipv4Addr, u16) {
        (self.gateway(), UDP_PORT)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
