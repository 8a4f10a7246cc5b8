//! Plugs the device of a port in, and explains where that fails.

use std::ffi::{CStr, CString};

use dpdk_sys as sys;

use crate::devargs::Plug;
use crate::device::Device;
use crate::eal::EalInner;
use crate::errno::Errno;
use crate::log::Capture;
use crate::port_error::PortError;

/// Makes the device; returns DPDK's number of its port.
pub(crate) fn plug_in(
    eal: &EalInner,
    name: &str,
    device: &Device,
    plug: &Plug,
) -> Result<u16, PortError> {
    let _one_at_a_time = eal.control();
    let capture = Capture::start();
    let create = |errno, capture: Capture| {
        let log = capture.text();
        let hint = hint(device, errno, &log);
        Err(PortError::Create {
            port: name.to_owned(),
            kind: device.kind(),
            errno,
            hint,
            log,
        })
    };
    let strings = (
        CString::new(plug.bus),
        CString::new(plug.name.as_str()),
        CString::new(plug.args.as_str()),
    );
    let (Ok(bus), Ok(dev), Ok(args)) = strings else {
        return create(Errno(libc::EINVAL), capture);
    };
    // Hotplug says yes to a device that exists, and two owners would close it.
    if port_of(&dev).is_some() {
        return create(Errno(libc::EEXIST), capture);
    }
    if matches!(device, Device::Tap { .. }) {
        ignore_sigio();
    }
    // SAFETY: three C strings, copied by DPDK; EAL runs.
    let ret = unsafe { sys::rte_eal_hotplug_add(bus.as_ptr(), dev.as_ptr(), args.as_ptr()) };
    if ret != 0 {
        return create(Errno::from_ret(ret), capture);
    }
    port_of(&dev).map_or_else(|| create(Errno(libc::ENODEV), capture), Ok)
}

/// The tap driver has the kernel send a real-time signal per packet; where too many wait, the kernel sends SIGIO instead,
/// which ends a process that has not said otherwise.
fn ignore_sigio() {
    // SAFETY: reads and writes one signal's disposition; what somebody else installed is put back.
    unsafe {
        let before = libc::signal(libc::SIGIO, libc::SIG_IGN);
        if before != libc::SIG_DFL && before != libc::SIG_ERR {
            libc::signal(libc::SIGIO, before);
        }
    }
}

fn port_of(dev: &CStr) -> Option<u16> {
    let mut id = 0;
    // SAFETY: a C string, and an integer to fill in.
    let ret = unsafe { sys::rte_eth_dev_get_port_by_name(dev.as_ptr(), &mut id) };
    (ret == 0).then_some(id)
}

/// What is mostly behind a failure.
fn hint(device: &Device, errno: Errno, log: &str) -> &'static str {
    if log.contains("PACKET_FANOUT") {
        return " (DPDK numbers the sockets of a port by process id and interface, and a process beside this one has the same number for another interface; \
                start it again, under another id)";
    }
    if errno.0 == libc::EEXIST {
        return " (a port of this name exists)";
    }
    if matches!(device, Device::Pci { .. }) {
        return " (is the address right, is EAL allowed to use PCI, and is the device bound to vfio-pci?)";
    }
    // SAFETY: reads an integer.
    let root = unsafe { libc::geteuid() } == 0;
    match device {
        Device::AfPacket { .. } | Device::AfXdp { .. } | Device::Tap { .. } if !root => {
            " (this kind needs root, or the capabilities NET_ADMIN and NET_RAW)"
        }
        Device::AfXdp { .. } => {
            " (does the kernel have AF_XDP, and the interface this many queues?)"
        }
        Device::VirtioUser { server: false, .. } => " (does the other end listen on the socket?)",
        Device::Pcap { .. } => {
            " (does the file to receive from exist, and can the other be written?)"
        }
        _ => "",
    }
}
