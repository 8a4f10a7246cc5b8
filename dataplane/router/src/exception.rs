//! The exception path: what is not DMSC goes to the kernel through one tap per port, and back (design §2).
//!
//! The taps carry the ports' addresses, so that signalling, ssh or BGP share the wire with data. System calls happen here, on a
//! control thread; workers only copy frames into lanes.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::lane::MAX_FRAME;
use crate::mac::MacAddress;
use crate::shared::Shared;

/// A tap could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "port {port:?}: the tap {tap} to the kernel could not be {step}: {cause} (CAP_NET_ADMIN and /dev/net/tun are needed; exception = \"none\" does without)"
)]
pub struct TapError {
    port: String,
    tap: String,
    step: &'static str,
    cause: std::io::Error,
}

/// The tap of one port.
pub struct Tap {
    port: usize,
    device: SyncDevice,
}

/// Name of the tap of a port.
pub fn tap_name(port: &str) -> String {
    format!("x-{port}")
}

impl Tap {
    /// Makes the tap of a port: its MAC address, MTU and addresses, up.
    ///
    /// # Errors
    /// Without the right or the device to make one.
    pub fn create(
        port: &crate::config::PortConfig,
        number: usize,
        mac: MacAddress,
    ) -> Result<Tap, TapError> {
        let tap = tap_name(&port.name);
        let error = |step| {
            let (port, tap) = (port.name.clone(), tap.clone());
            move |cause| TapError {
                port,
                tap,
                step,
                cause,
            }
        };
        let device = DeviceBuilder::new()
            .name(tap.clone())
            .layer(Layer::L2)
            .mac_addr(mac.0)
            .mtu(port.mtu)
            .enable(false)
            .build_sync()
            .map_err(error("made"))?;
        use_addresses_at_once(&tap);
        device.enabled(true).map_err(error("brought up"))?;
        for net in &port.addresses {
            match net.addr() {
                IpAddr::V4(address) => device.add_address_v4(address, net.prefix_len()),
                IpAddr::V6(address) => device.add_address_v6(address, net.prefix_len()),
            }
            .map_err(error("given its addresses"))?;
        }
        device
            .set_nonblocking(true)
            .map_err(error("set to non-blocking"))?;
        Ok(Tap {
            port: number,
            device,
        })
    }
}

/// The dataplane answers for its addresses from the start, so the kernel need not find out for a second whether somebody else
/// has them (RFC 4862, 5.4): until then no program could listen on them.
fn use_addresses_at_once(tap: &str) {
    let setting = format!("/proc/sys/net/ipv6/conf/{tap}/accept_dad");
    // A kernel without IPv6 has no such setting, and an address is usable later where it can not be written.
    let _ = std::fs::write(setting, "0");
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Frames handled in one go before the others get their turn.
const TURN: usize = 64;

/// Moves frames between lanes and taps until the process stops.
pub fn run(shared: &Arc<Shared>, taps: Vec<Tap>) {
    let mut by_port: Vec<Option<&Tap>> = vec![None; shared.ports.len()];
    for tap in &taps {
        by_port[tap.port] = Some(tap);
    }
    let mut buffer = vec![0; MAX_FRAME];
    while shared.is_running() {
        let mut moved = to_kernel(shared, &by_port);
        for tap in &taps {
            moved += from_kernel(shared, tap, &mut buffer);
        }
        if moved > 0 {
            continue;
        }
        shared.kernel_bell.prepare();
        if shared.to_kernel.is_empty() && shared.is_running() {
            let mut fds = vec![shared.kernel_bell.poll_fd()];
            fds.extend(
                taps.iter()
                    .map(|tap| PollFd::new(tap.as_fd(), PollFlags::POLLIN)),
            );
            let _ = poll(&mut fds, PollTimeout::from(1000u16)); // EINTR and time-out: look again
        }
        shared.kernel_bell.awake();
    }
}

fn to_kernel(shared: &Shared, by_port: &[Option<&Tap>]) -> usize {
    let mut moved = 0;
    while moved < TURN
        && let Some(parcel) = shared.to_kernel.take()
    {
        moved += 1;
        if let Some(Some(tap)) = by_port.get(usize::from(parcel.port)) {
            // The kernel's own queue is bounded too; what it does not take is lost as on any wire.
            let _ = tap.device.send(&parcel.bytes);
        }
        shared.to_kernel.give_back(parcel.bytes);
    }
    moved
}

fn from_kernel(shared: &Shared, tap: &Tap, buffer: &mut [u8]) -> usize {
    let worker = &shared.workers[shared.owner(tap.port)];
    let mut moved = 0;
    while moved < TURN
        && let Ok(length) = tap.device.recv(buffer)
    {
        moved += 1;
        if length > 0 && shared.ports[tap.port].is_up() {
            worker
                .raw
                .offer(tap.port as u8, true, 0, &buffer[..length], usize::MAX);
        }
    }
    if moved > 0 {
        worker.bell.ring();
    }
    moved
}

/// Frames from the kernel that found no room on the way to a worker, for the counters of the exception path.
pub fn lost_from_kernel(shared: &Shared) -> u64 {
    shared.workers.iter().map(|w| w.raw.missed()).sum()
}

/// Whether a port wants a tap: it must be asked for and have an address to be reached by.
pub fn wants_tap(port: &crate::config::PortConfig) -> bool {
    port.exception == crate::config::Exception::Tap && !port.addresses.is_empty()
}
