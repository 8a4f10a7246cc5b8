//! Keeps the kernel quiet on an interface that a packet socket reads.
//!
//! A packet socket gets a copy; the kernel sees the frame too, and since the port's addresses are on the tap it would answer:
//! ARP and TCP a second time, DMSC with "port unreachable". Strict reverse-path filtering (the way back is through the tap) and
//! `arp_ignore` stop that for IPv4, `disable_ipv6` for IPv6. All of it is undone when the dataplane stops.

use std::path::PathBuf;

use crate::config::PortKind;

/// Settings of one interface, and what they were before; restored on drop.
#[derive(Debug)]
pub struct Hushed {
    before: Vec<(PathBuf, String)>,
}

const SETTINGS: [(&str, &str, &str); 3] = [
    ("ipv4", "rp_filter", "1"),
    ("ipv4", "arp_ignore", "8"),
    ("ipv6", "disable_ipv6", "1"),
];

impl Hushed {
    /// Hushes the interface of a port; nothing for kinds that the kernel does not see.
    pub fn hush(kind: &PortKind) -> Option<Hushed> {
        let interface = match kind {
            PortKind::AfPacket { interface } | PortKind::AfXdp { interface } => interface,
            _ => return None,
        };
        let mut hushed = Hushed { before: Vec::new() };
        for (family, setting, value) in SETTINGS {
            // An interface name may contain a dot, which is why this is a path and not a sysctl name.
            let path = PathBuf::from("/proc/sys/net")
                .join(family)
                .join("conf")
                .join(interface)
                .join(setting);
            match std::fs::read_to_string(&path)
                .and_then(|old| std::fs::write(&path, value).map(|()| old))
            {
                Ok(old) if old.trim() != value => hushed.before.push((path, old)),
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    interface, setting, %error,
                    "the kernel may answer on this interface beside the dataplane; set net.{family}.conf.{interface}.{setting}={value}"
                ),
            }
        }
        let all =
            std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_default();
        if all.trim() == "2" {
            tracing::warn!(
                interface,
                "net.ipv4.conf.all.rp_filter=2 overrides strict filtering: the kernel may answer beside the dataplane"
            );
        }
        Some(hushed)
    }
}

impl Hushed {
    /// Takes over from another process that has hushed already, and knows what was before.
    pub fn adopt(before: Vec<(PathBuf, String)>) -> Hushed {
        Hushed { before }
    }

    /// Leaves the settings as they are; what to put back is for somebody else now.
    pub fn give_away(mut self) -> Vec<(PathBuf, String)> {
        std::mem::take(&mut self.before)
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        for (path, old) in &self.before {
            let _ = std::fs::write(path, old); // the interface may be gone
        }
    }
}
