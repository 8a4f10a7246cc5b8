//! Checksum offload off on a pod's veth.
//!
//! The kernel leaves UDP checksums on a veth unfinished, to be completed by a NIC that is not there; a gateway that reads the other end with
//! af_packet sees a wrong checksum, and drops the packet as `bad-checksum` or `gso-frame` (design §3). The remedy is
//! `ethtool -K <if> tx off`. It is tried on a veth only: on a real NIC it would cost everybody else their offload. Best effort: labs and images
//! set it themselves, and without the right to, or without ethtool, the drop reason at the gateway tells the same remedy.

use std::net::IpAddr;
use std::process::{Output, Stdio};

use tracing::debug;

/// Runs ethtool on the veth that has `local`, if there is one.
pub async fn fix(local: IpAddr) {
    let Some(interface) = interface_of(local) else {
        return;
    };
    // What sysfs says may be about another namespace; the driver is told by the kernel itself.
    let Ok(driver) = ethtool(&["-i", &interface]).await else {
        return;
    };
    if !is_veth(&driver.stdout) {
        return;
    }
    let done = ethtool(&["-K", &interface, "tx", "off", "tso", "off", "gso", "off"]).await;
    debug!(
        interface,
        ok = done.is_ok_and(|output| output.status.success()),
        "checksum offload off"
    );
}

async fn ethtool(arguments: &[&str]) -> std::io::Result<Output> {
    tokio::process::Command::new("ethtool")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
}

/// Whether `ethtool -i` speaks of a veth.
fn is_veth(output: &[u8]) -> bool {
    output
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"driver: veth")
}

fn interface_of(address: IpAddr) -> Option<String> {
    nix::ifaddrs::getifaddrs().ok()?.find_map(|interface| {
        let storage = interface.address?;
        let own: IpAddr = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => v4.ip().into(),
            (_, Some(v6)) => v6.ip().into(),
            _ => return None,
        };
        (own == address).then_some(interface.interface_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_and_only_a_veth_is_touched() {
        assert!(interface_of("127.0.0.1".parse().unwrap()).is_some());
        assert_eq!(interface_of("192.0.2.1".parse().unwrap()), None);
        assert!(is_veth(b"driver: veth\nversion: 1.0\n"));
        assert!(!is_veth(b"driver: mlx5_core\nbus-info: veth\n"));
    }
}
