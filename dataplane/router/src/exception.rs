//! The exception path: what is not DMSC goes to the kernel through one tap per port, and back (design §2).
//!
//! The taps carry the ports' addresses, so that signalling, ssh or BGP share the wire with data. System calls happen here, on a
//! control thread; workers only copy frames into lanes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::address;
use crate::lane::{Lane, MAX_FRAME};
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
            .enable(true)
            .build_sync()
            .map_err(error("made"))?;
        // Another process may have left it with addresses that are not configured any more.
        let failed = error("asked for its addresses");
        for net in address::list(&tap).map_err(|errno| failed(errno.into()))? {
            if !port.addresses.contains(&net) {
                let failed = error("rid of an old address");
                address::remove(&tap, net).map_err(|errno| failed(errno.into()))?;
            }
        }
        for net in &port.addresses {
            let failed = error("given its addresses");
            address::add(&tap, *net).map_err(|errno| failed(errno.into()))?;
        }
        // One that another process left is ours now, and goes when this one ends.
        dmsc_dpdk::set_persistent(device.as_fd(), false).map_err(error("taken over"))?;
        device
            .set_nonblocking(true)
            .map_err(error("set to non-blocking"))?;
        Ok(Tap {
            port: number,
            device,
        })
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Tap {
    /// Leaves the interface with its addresses, routes and connections for the next process, which takes it by its name.
    fn leave(&self) {
        if let Err(error) = dmsc_dpdk::set_persistent(self.as_fd(), true) {
            tracing::warn!(port = self.port, %error, "the tap goes with this process; connections over it break");
        }
    }
}

/// Removes a tap that another process left and this one has no use for.
pub fn discard(tap: &str) {
    let discarded = DeviceBuilder::new()
        .name(tap)
        .layer(Layer::L2)
        .build_sync()
        .and_then(|device| dmsc_dpdk::set_persistent(device.as_fd(), false));
    if let Err(error) = discarded {
        tracing::warn!(tap, %error, "an old tap stays; remove it: ip link del {tap}");
    }
}

/// Frames handled in one go before the others get their turn.
const TURN: usize = 64;

/// Moves frames between lanes and taps until the process stops; every port has its turn.
pub fn run(shared: &Arc<Shared>, taps: &[Tap]) {
    let mut buffer = vec![0; MAX_FRAME];
    while shared.is_running() {
        let mut moved = 0;
        for tap in taps {
            moved += to_kernel(shared, tap) + from_kernel(shared, tap, &mut buffer);
        }
        if moved > 0 {
            continue;
        }
        shared.kernel_bell.prepare();
        if shared.to_kernel.iter().all(Lane::is_empty) && shared.is_running() {
            let mut fds = vec![shared.kernel_bell.poll_fd()];
            fds.extend(
                taps.iter()
                    .map(|tap| PollFd::new(tap.as_fd(), PollFlags::POLLIN)),
            );
            let _ = poll(&mut fds, PollTimeout::from(1000u16)); // EINTR and time-out: look again
        }
        shared.kernel_bell.awake();
    }
    if shared.is_handing_over() {
        taps.iter().for_each(Tap::leave);
    }
}

fn to_kernel(shared: &Shared, tap: &Tap) -> usize {
    let lane = &shared.to_kernel[tap.port];
    let mut moved = 0;
    while moved < TURN
        && let Some(parcel) = lane.take()
    {
        moved += 1;
        // The kernel's own queue is bounded too; what it does not take is lost as on any wire.
        let _ = tap.device.send(&parcel.bytes);
        lane.give_back(parcel.bytes);
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

/// Whether a port wants a tap: it must be asked for and have an address to be reached by.
pub fn wants_tap(port: &crate::config::PortConfig) -> bool {
    port.exception == crate::config::Exception::Tap && !port.addresses.is_empty()
}
