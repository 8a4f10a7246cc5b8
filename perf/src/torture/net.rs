//! A network namespace of this process's own: interfaces in it are gone when the last process in it is.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

use super::kind::Kind;
use super::site::{MTU, Site};

/// Moves this process, which must have one thread only, and all that it starts into a new network namespace.
pub fn enter_namespace() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .context("no network namespace can be made: CAP_SYS_ADMIN is needed")?;
    ip(&["link", "set", "lo", "up"])
}

/// Makes the interfaces that must be there before the dataplane is.
pub fn before(site: &Site) -> anyhow::Result<()> {
    if matches!(site.kind, Kind::AfPacket | Kind::AfXdp) {
        veth(
            &site.interface(),
            &site.far_interface(),
            &site.mac().to_string(),
        )?;
    }
    Ok(())
}

/// A veth pair, both ends up and without addresses.
pub fn veth(own: &str, far: &str, mac: &str) -> anyhow::Result<()> {
    veth_of(own, far, mac, MTU)
}

/// Removes an end of a veth pair, and so both.
pub fn unveth(interface: &str) {
    let _ = ip(&["link", "del", interface]); // goes with the namespace anyway
}

/// A veth pair of this MTU, both ends up and without addresses.
pub fn veth_of(own: &str, far: &str, mac: &str, mtu: u16) -> anyhow::Result<()> {
    veth_pair((own, Some(mac)), (far, None), mtu)
}

/// A veth pair of these ends, each with its Ethernet address if it shall have a certain one; both up and without other addresses.
pub fn veth_pair(
    (own, mac): (&str, Option<&str>),
    (far, far_mac): (&str, Option<&str>),
    mtu: u16,
) -> anyhow::Result<()> {
    let mtu = mtu.to_string();
    let mut words = vec!["link", "add", own, "mtu", &mtu];
    words.extend(mac.iter().flat_map(|mac| ["address", mac]));
    words.extend(["type", "veth", "peer", "name", far, "mtu", &mtu]);
    words.extend(far_mac.iter().flat_map(|mac| ["address", mac]));
    ip(&words)?;
    for interface in [own, far] {
        // The kernel shall not talk here by itself; without IPv6 there is nothing to turn off.
        let _ = std::fs::write(
            format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"),
            "1",
        );
        ip(&["link", "set", interface, "up"])?;
    }
    Ok(())
}

/// Brings up what the dataplane made.
pub fn after(site: &Site) -> anyhow::Result<()> {
    if site.kind == Kind::Tap {
        ip(&["link", "set", &site.interface(), "up"])?;
    }
    Ok(())
}

/// Removes what was made before the dataplane was.
pub fn remove(site: &Site) {
    if matches!(site.kind, Kind::AfPacket | Kind::AfXdp) {
        unveth(&site.far_interface());
    }
}

/// Whether two packet sockets of this process and of the dataplane `process` would be in one fanout group.
pub fn fanouts_collide(sites: &[Site], process: u32) -> anyhow::Result<bool> {
    let theirs = sites.iter().filter(|s| s.kind == Kind::AfPacket);
    let theirs: Vec<String> = theirs.map(Site::interface).collect();
    let ours = sites.iter().filter(|s| s.kind.has_packet_socket());
    let ours: Vec<String> = ours.map(Site::far_interface).collect();
    groups_collide(&theirs, process, &ours)
}

/// Whether packet sockets of `process` on the interfaces `theirs` and of this process on `ours` would be in one fanout group, which the
/// kernel refuses: DPDK numbers the groups by process id XOR interface index, unique in a process only.
pub fn groups_collide(theirs: &[String], process: u32, ours: &[String]) -> anyhow::Result<bool> {
    let groups = |names: &[String], process: u32| {
        let group =
            |name: &String| if_nametoindex(name.as_str()).map(|index| (index ^ process) & 0xffff);
        names.iter().map(group).collect::<nix::Result<Vec<u32>>>()
    };
    let theirs = groups(theirs, process)?;
    let ours = groups(ours, std::process::id())?;
    Ok(ours.iter().any(|group| theirs.contains(group)))
}

/// Runs ip(8) in this process's namespace.
///
/// # Errors
/// What it says, or that it is not installed.
pub fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ip: install iproute2")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), message.trim());
    }
    Ok(())
}
