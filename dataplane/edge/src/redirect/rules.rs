//! What is redirected, as a script for nft.

use std::fmt::Write as _;
use std::net::SocketAddr;

use thiserror::Error;

use crate::config::Range;

/// Redirects of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Where redirected connections arrive: the edge's own listener.
    pub to: SocketAddr,
    /// Synthetic addresses; any port of them.
    pub range: Option<Range>,
    /// Addresses that mean a name.
    pub addresses: Vec<SocketAddr>,
    /// What the edge itself connects to: the pod's programs, and the registrar. Never redirected.
    pub own: Vec<SocketAddr>,
}

/// Rules that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScriptError {
    /// A redirected connection keeps its family.
    #[error(
        "redirect of {address} to {to}: an IPv6 address needs an IPv6 `tcp`, and IPv4 an IPv4 one"
    )]
    Family {
        /// The address.
        address: SocketAddr,
        /// The listener.
        to: SocketAddr,
    },
    /// The edge would call itself for ever.
    #[error(
        "redirect of {0}: the edge itself connects there (`to` of a [[pod.serve]], `gateway`, or `tcp`); redirect another address"
    )]
    Own(SocketAddr),
}

impl Script {
    /// Whether they can be put in force.
    ///
    /// # Errors
    /// Each mistake.
    pub fn check(&self) -> Result<(), ScriptError> {
        let to = self.to;
        for &address in &self.addresses {
            if address.is_ipv4() != to.is_ipv4() {
                return Err(ScriptError::Family { address, to });
            }
        }
        let in_range = |address: &SocketAddr| match (self.range, address) {
            (Some(range), SocketAddr::V4(v4)) => range.contains(*v4.ip()),
            _ => false,
        };
        let own = self.own.iter().chain([&self.to]);
        own.copied()
            .find(|own| self.addresses.contains(own) || in_range(own))
            .map_or(Ok(()), |own| Err(ScriptError::Own(own)))
    }

    /// The table as a whole, made anew.
    #[must_use]
    pub fn table(&self, table: &str) -> String {
        // An empty one first, so that deleting it is no mistake.
        let mut text = format!("add table inet {table}\ndelete table inet {table}\n");
        let _ = writeln!(
            text,
            "table inet {table} {{\n chain output {{\n  type nat hook output priority -100; policy accept;"
        );
        for own in &self.own {
            let _ = writeln!(text, "  {} return", matching(own));
        }
        let action = match self.to {
            SocketAddr::V4(to) => format!("dnat ip to {}:{}", arrival_v4(to), to.port()),
            SocketAddr::V6(to) => format!("dnat ip6 to [{}]:{}", arrival_v6(to), to.port()),
        };
        if let Some(range) = self.range {
            let _ = writeln!(text, "  ip daddr {range} meta l4proto tcp {action}");
        }
        for address in &self.addresses {
            let _ = writeln!(text, "  {} {action}", matching(address));
        }
        text.push_str(" }\n}\n");
        text
    }
}

fn matching(address: &SocketAddr) -> String {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    format!(
        "{family} daddr {} tcp dport {}",
        address.ip(),
        address.port()
    )
}

/// A listener on all addresses is reached by the loopback.
fn arrival_v4(to: std::net::SocketAddrV4) -> std::net::Ipv4Addr {
    match to.ip().is_unspecified() {
        true => std::net::Ipv4Addr::LOCALHOST,
        false => *to.ip(),
    }
}

fn arrival_v6(to: std::net::SocketAddrV6) -> std::net::Ipv6Addr {
    match to.ip().is_unspecified() {
        true => std::net::Ipv6Addr::LOCALHOST,
        false => *to.ip(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Script {
        Script {
            to: "127.0.0.1:15002".parse().unwrap(),
            range: Some(Range {
                network: [198, 18, 0, 0].into(),
                length: 16,
            }),
            addresses: vec!["10.96.0.10:80".parse().unwrap()],
            own: vec!["10.1.1.1:35030".parse().unwrap()],
        }
    }

    #[test]
    fn a_table_is_replaced_as_a_whole() {
        rules().check().unwrap();
        let expected = "\
add table inet t
delete table inet t
table inet t {
 chain output {
  type nat hook output priority -100; policy accept;
  ip daddr 10.1.1.1 tcp dport 35030 return
  ip daddr 198.18.0.0/16 meta l4proto tcp dnat ip to 127.0.0.1:15002
  ip daddr 10.96.0.10 tcp dport 80 dnat ip to 127.0.0.1:15002
 }
}
";
        assert_eq!(rules().table("t"), expected);
    }

    #[test]
    fn loops_and_mixed_families_are_told() {
        let mut wrong = rules();
        wrong.addresses.push("[::1]:80".parse().unwrap());
        assert!(matches!(wrong.check(), Err(ScriptError::Family { .. })));
        let mut wrong = rules();
        wrong.own.push("10.96.0.10:80".parse().unwrap());
        let own = "10.96.0.10:80".parse().unwrap();
        assert_eq!(wrong.check(), Err(ScriptError::Own(own)));
        let mut wrong = rules();
        wrong.to = "198.18.0.9:1".parse().unwrap();
        assert_eq!(wrong.check(), Err(ScriptError::Own(wrong.to)));
    }
}
