//! Carrier: the kernel tells of its interfaces by netlink, DPDK's own devices are asked now and then.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dmsc_dpdk::PortHandle;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::io::unix::AsyncFd;

use crate::shared::Shared;

/// How often devices without a kernel interface are asked.
const ASK: Duration = Duration::from_millis(200);
/// How often interfaces are asked besides, should an event have been lost.
const ASK_ANYWAY: Duration = Duration::from_secs(5);
/// The netlink group of link changes (rtnetlink(7), RTMGRP_LINK).
const LINK_GROUP: u32 = 1;

/// A netlink socket that becomes readable whenever a link changes. What changed is asked of the ports themselves.
struct LinkEvents(AsyncFd<OwnedFd>);

impl LinkEvents {
    fn open() -> std::io::Result<LinkEvents> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP))?;
        Ok(LinkEvents(AsyncFd::register(socket)?))
    }

    /// Waits for a change and takes all messages that are there.
    async fn next(&self) -> std::io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [0; 16_384];
        // ENOBUFS (events were lost) is a reason to look, like an event.
        while recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}

/// Follows the carrier of all ports until the process stops. A loss is one bit that every worker sees at its next burst.
pub async fn follow(shared: Arc<Shared>, handles: Vec<PortHandle>) {
    let (silent, told): (Vec<usize>, Vec<usize>) =
        (0..handles.len()).partition(|i| shared.ports[*i].config.kind.interface().is_none());
    let mut events = LinkEvents::open();
    if let Err(error) = &events {
        tracing::warn!(%error, "no netlink events: the carrier of interfaces is asked for instead");
    }
    let mut tick = tokio::time::interval(if silent.is_empty() && events.is_ok() { ASK_ANYWAY } else { ASK });
    while shared.is_running() {
        tokio::select! {
            event = async { match &events { Ok(e) => e.next().await, Err(_) => std::future::pending().await } } => {
                if let Err(error) = event {
                    tracing::warn!(%error, "netlink events ended: the carrier of interfaces is asked for instead");
                    events = Err(error);
                    tick = tokio::time::interval(ASK);
                }
                look(&shared, &handles, told.iter());
            }
            _ = tick.tick() => look(&shared, &handles, told.iter().chain(&silent)),
        }
    }
}

fn look<'a>(shared: &Shared, handles: &[PortHandle], ports: impl Iterator<Item = &'a usize>) {
    for &index in ports {
        let port = &shared.ports[index];
        let up = handles[index].link_up();
        if port.carrier.swap(up, Relaxed) != up {
            tracing::info!(port = port.config.name, carrier = up, "carrier changed");
            shared.workers[shared.owner(index)].bell.ring();
            shared.announce();
        }
    }
}
