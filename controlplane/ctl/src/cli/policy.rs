//! Words that are said to a scheduling center about policies.

use std::time::Duration;

use clap::{Args, Subcommand};
use dmsc_wire::NameBuf;

use crate::span;
use crate::text::parse_name;

/// `policy …`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Decide by hand which members get which share of the calls that enter at a gateway, for a time
    Set(SetArgs),
    /// Take back what was set by hand: the center decides again, from there
    Unset(UnsetArgs),
}

/// `policy set NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl --node /run/dmsc-scsc/operator.sock policy set /shop/a --gateway 1 --share 2=3 3=1 --ttl 10m --reason \"canary\"\n  dmscctl policy set /shop/a --gateway 1 --share 2=1 --exclude 3 --ttl 60s --reason \"node 3 gets new disks\"\n\nNAME is the prefix of a service group, as `dmscctl show prefixes` of the gateway has it. Weights are in proportion. NODE/delay=WEIGHT sends that share by the topology of least delay, whatever the class of the calls. Members that are not named stay backups; excluded ones get nothing as long as another can be reached.\nUntil the time is over or `policy unset`, the center decides nothing about this group at this gateway; then it goes on from there, in its own steps. Of several centers the one that started last counts: set it there, or at each.\nThe role operate is needed, and an audit record is left."
)]
pub struct SetArgs {
    /// Prefix of a service group
    #[arg(value_parser = parse_name)]
    pub name: NameBuf,
    /// For calls that enter there
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "NODE")]
    pub gateway: u32,
    /// A member's gateway and its weight, 1 to 65535; NODE/delay=WEIGHT: by the topology of least delay
    #[arg(long, required = true, num_args = 1.., value_parser = parse_share, value_name = "NODE=WEIGHT")]
    pub share: Vec<Share>,
    /// A member that gets nothing
    #[arg(long, num_args = 1.., value_parser = clap::value_parser!(u32).range(1..), value_name = "NODE")]
    pub exclude: Vec<u32>,
    /// How long, 2s to 60m
    #[arg(long, value_parser = parse_ttl, value_name = "TIME")]
    pub ttl: Duration,
    /// Why, for whoever reads policies, decisions or the audit; at most 255 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Tenant
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), value_name = "DOMAIN")]
    pub domain: u32,
}

/// `policy unset NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dmscctl --node /run/dmsc-scsc/operator.sock policy unset /shop/a --gateway 1"
)]
pub struct UnsetArgs {
    /// Prefix of a service group
    #[arg(value_parser = parse_name)]
    pub name: NameBuf,
    /// Only at this gateway; left out: at all
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "NODE")]
    pub gateway: Option<u32>,
    /// Tenant
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), value_name = "DOMAIN")]
    pub domain: u32,
}

/// A member's gateway, its weight, and by which topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Node id.
    pub node: u32,
    /// In proportion to the others'.
    pub weight: u16,
    /// By the topology of least delay, whatever the class.
    pub by_delay: bool,
}

fn parse_share(text: &str) -> Result<Share, String> {
    let parts = text.split_once('=');
    let (node, by_delay) = match parts.map(|(node, _)| node) {
        Some(node) => match node.strip_suffix("/delay") {
            Some(node) => (node.parse().ok(), true),
            None => (node.parse().ok(), false),
        },
        None => (None, false),
    };
    let weight = parts.and_then(|(_, weight)| weight.parse().ok());
    match (node.filter(|node| *node > 0), weight) {
        (Some(node), Some(weight)) if weight > 0 => Ok(Share {
            node,
            weight,
            by_delay,
        }),
        (Some(node), Some(_)) => Err(format!(
            "a weight of 0 gives nothing: write --exclude {node}"
        )),
        _ => {
            Err("expected NODE=WEIGHT or NODE/delay=WEIGHT in numbers, weights from 1 to 65535, such as 2=3".to_owned())
        }
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = span::parse(text)?;
    if !(Duration::from_secs(2)..=Duration::from_secs(3_600)).contains(&ttl) {
        return Err(
            "a policy lives 2s to 60m; set it again before it is over if it is to last".to_owned(),
        );
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times() {
        for (text, by_delay) in [("2=3", false), ("2/delay=3", true)] {
            let expected = Share {
                node: 2,
                weight: 3,
                by_delay,
            };
            assert_eq!(parse_share(text), Ok(expected));
        }
        assert!(parse_share("2=0").unwrap_err().contains("--exclude 2"));
        for wrong in [
            "2",
            "0=1",
            "2=65536",
            "a=1",
            "=",
            "2=-1",
            "2/metric=1",
            "/delay=1",
        ] {
            assert!(parse_share(wrong).unwrap_err().contains("65535"), "{wrong}");
        }
        assert!(parse_ttl("60m").is_ok());
        for wrong in ["1s", "61m", "0"] {
            assert!(
                parse_ttl(wrong).unwrap_err().contains("2s to 60m"),
                "{wrong}"
            );
        }
    }
}
