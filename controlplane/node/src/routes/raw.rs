//! The routes file as it is written: field names and TOML types, nothing checked beyond them.

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub node: Node,
    #[serde(default)]
    pub adjacency: Vec<Adjacency>,
    #[serde(default)]
    pub gateway: Vec<Gateway>,
    #[serde(default)]
    pub group: Vec<Group>,
    #[serde(default)]
    pub prefix: Vec<Prefix>,
    #[serde(default)]
    pub prefix_file: Vec<PrefixFile>,
    #[serde(default)]
    pub identity: Vec<Identity>,
    #[serde(default)]
    pub access: Vec<Access>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub id: Spanned<u32>,
    pub domain: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adjacency {
    pub id: Spanned<u32>,
    pub port: Spanned<String>,
    pub peer: Spanned<u32>,
    pub encapsulation: Option<Spanned<String>>,
    pub local: Option<Spanned<String>>,
    pub remote: Option<Spanned<String>>,
    pub next_hop: Option<Spanned<String>>,
    pub vlan: Option<Spanned<u32>>,
    pub minimum_ttl: Option<Spanned<u32>>,
    pub mtu: Option<Spanned<u32>>,
    pub hello_interval_ms: Option<Spanned<u32>>,
    pub hello_multiplier: Option<Spanned<u32>>,
    pub key_id: Option<Spanned<u32>>,
    pub key_hex: Option<Spanned<String>>,
    // Of the link state; refused in a routes file.
    pub metric: Option<Spanned<u32>>,
    pub delay_us: Option<Spanned<u32>>,
    pub capacity_kbps: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub id: Spanned<u32>,
    pub topology: Option<Spanned<String>>,
    pub metric: u32,
    pub next_hops: Spanned<Vec<u32>>,
    pub node_protecting: Option<Spanned<u32>>,
    pub link_protecting: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub id: Spanned<u32>,
    pub policy: Option<Spanned<String>>,
    pub members: Spanned<Vec<Member>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub gateway: u32,
    #[serde(default)]
    pub metric: u32,
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefix {
    pub name: Spanned<String>,
    pub group: Spanned<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrefixFile {
    pub path: Spanned<String>,
    pub group: Spanned<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub id: Spanned<String>,
    #[serde(default)]
    pub prefixes: Vec<Spanned<String>>,
    pub prefix_file: Option<Spanned<OneOrMany>>,
    #[serde(default)]
    pub ports: Vec<Spanned<String>>,
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter().map(String::as_str),
            Self::Many(many) => many.iter().map(String::as_str),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Access {
    pub id: Spanned<u32>,
    pub caller: Option<Spanned<String>>,
    pub callee: Option<Spanned<String>>,
    pub allow: bool,
}
