//! Carrier: the kernel tells of its interfaces by netlink, DPDK's own devices are asked now and then.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::port::Handles;
use crate::shared::Shared;

/// How often devices without a kernel interface are asked, ms.
const ASK: u16 = 200;
/// How often interfaces are asked besides, should an event have been lost, ms.
const ASK_ANYWAY: u16 = 5_000;
/// The netlink group of link changes (rtnetlink(7), RTMGRP_LINK).
const LINK_GROUP: u32 = 1;

/// A netlink socket that becomes readable whenever a link changes. What changed is asked of the ports themselves.
fn link_events() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP))?;
    Ok(socket)
}

/// Follows the carrier of all ports until the process stops. A loss is one bit that every worker sees at its next burst.
pub fn follow(shared: &Arc<Shared>, handles: &Handles) {
    let silent = shared
        .ports
        .iter()
        .any(|port| port.config.kind.interface().is_none());
    let events = link_events();
    if let Err(error) = &events {
        tracing::warn!(%error, "no netlink events: the carrier of interfaces is asked for instead");
    }
    let timeout = PollTimeout::from(if silent || events.is_err() {
        ASK
    } else {
        ASK_ANYWAY
    });
    let mut buffer = [0; 16_384];
    while shared.is_running() {
        look(shared, handles);
        shared.link_bell.prepare();
        if shared.is_running() {
            let mut fds = vec![shared.link_bell.poll_fd()];
            fds.extend(
                events
                    .as_ref()
                    .map(|e| PollFd::new(e.as_fd(), PollFlags::POLLIN)),
            );
            let _ = poll(&mut fds, timeout); // EINTR and time-out: look again
        }
        shared.link_bell.awake();
        if let Ok(events) = &events {
            // ENOBUFS (events were lost) is a reason to look, like an event.
            while recv(events.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        }
    }
}

fn look(shared: &Shared, handles: &Handles) {
    for (index, (port, handle)) in shared.ports.iter().zip(handles.read().iter()).enumerate() {
        let up = handle.link_up();
        if port.carrier.swap(up, Relaxed) != up {
            if !up && port.config.kind.is_shared_memory() {
                port.deserted.store(true, Relaxed);
            }
            tracing::info!(port = port.config.name, carrier = up, "carrier changed");
            shared.workers[shared.owner(index)].hurry();
            shared.announce();
        }
    }
}
