//! Checksum offload off on a pod's veth.
//!
//! The kernel leaves UDP checksums on a veth unfinished, to be completed by a NIC that is not there; a gateway that reads the other end with
//! af_packet sees a wrong checksum, and drops the packet as `bad-checksum` or `gso-frame` (design §3). The remedy is
//! `ethtool -K <if> tx off`. It is tried on a veth only: on a real NIC it would cost everybody else their offload. Best effort: labs and images
//! set it themselves, and without the right to, or without ethtool, the drop reason at the gateway tells the same remedy.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use tracing::debug;

/// Runs ethtool on the veth that has `local`, if there is one.
pub async fn fix(local: IpAddr) {
    let Some(interface) = interface_of(local).filter(|interface| is_veth(interface)) else {
        return;
    };
    let status = tokio::process::Command::new("ethtool")
        .args(["-K", &interface, "tx", "off", "tso", "off", "gso", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    debug!(interface, ?status, "checksum offload off");
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

/// A veth has no device below it, and its link is another interface.
fn is_veth(interface: &str) -> bool {
    let folder = Path::new("/sys/class/net").join(interface);
    let read = |file| std::fs::read_to_string(folder.join(file)).ok();
    match (read("ifindex"), read("iflink")) {
        (Some(index), Some(link)) => index != link && !folder.join("device").exists(),
        // Another namespace's sysfs: nothing is known, nothing is touched.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_left_alone() {
        let name = interface_of("127.0.0.1".parse().unwrap()).unwrap();
        assert!(!is_veth(&name));
        assert_eq!(interface_of("192.0.2.1".parse().unwrap()), None);
    }
}
