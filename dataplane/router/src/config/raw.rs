//! The configuration as it stands in the file: words and numbers with their places, nothing judged yet.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{Exception, HugePages, Idle, PlainIp, PortRole, Role};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) node: RawNode,
    #[serde(default)]
    pub(super) eal: RawEal,
    #[serde(default)]
    pub(super) workers: RawWorkers,
    pub(super) agent: RawAgent,
    #[serde(default)]
    pub(super) classes: RawClasses,
    #[serde(default)]
    pub(super) class_rule: Vec<RawClassRule>,
    #[serde(default)]
    pub(super) port: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub(super) id: Spanned<u32>,
    pub(super) name: Spanned<String>,
    pub(super) role: Role,
    pub(super) udp_port: Option<Spanned<u16>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEal {
    pub(super) memory_mb: Option<Spanned<u32>>,
    pub(super) huge: HugePages,
    pub(super) file_prefix: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWorkers {
    pub(super) cores: Option<Spanned<Vec<usize>>>,
    pub(super) idle: Idle,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    pub(super) socket: Spanned<PathBuf>,
    pub(super) view_group: Option<String>,
    pub(super) operate_group: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClasses {
    pub(super) strict_from: Option<Spanned<u8>>,
    pub(super) weights: Option<Spanned<Vec<u32>>>,
    pub(super) queue_frames: Option<Spanned<usize>>,
    pub(super) mark_frames: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClassRule {
    pub(super) domain: Option<u32>,
    pub(super) caller: Option<Spanned<String>>,
    pub(super) callee: Option<Spanned<String>>,
    pub(super) class: Spanned<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPort {
    pub(super) name: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) role: PortRole,
    pub(super) interface: Option<Spanned<String>>,
    pub(super) socket: Option<PathBuf>,
    pub(super) socket_group: Option<Spanned<String>>,
    pub(super) server: Option<bool>,
    pub(super) client: Option<bool>,
    pub(super) id: Option<u32>,
    pub(super) size: Option<u16>,
    pub(super) rx_file: Option<PathBuf>,
    pub(super) tx_file: Option<PathBuf>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) mtu: Option<Spanned<u16>>,
    pub(super) mac: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
    pub(super) vlan: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) exception: Exception,
    pub(super) domain: Option<u32>,
    #[serde(default)]
    pub(super) plain_ip: PlainIp,
    pub(super) budget_pps: Option<Spanned<u64>>,
    pub(super) budget_mbps: Option<Spanned<u64>>,
    pub(super) rate_mbps: Option<Spanned<u64>>,
    pub(super) capacity_mbps: Option<Spanned<u64>>,
}
