//! The configuration file as it is written: field names and TOML types, nothing checked beyond them.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::routes::raw::{Access, Adjacency};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub node: Node,
    #[serde(default)]
    pub linkstate: Linkstate,
    #[serde(default)]
    pub adjacency: Vec<Adjacency>,
    pub gateway: Option<Spanned<Gateway>>,
    #[serde(default)]
    pub access: Vec<Access>,
    #[serde(default)]
    pub class: Vec<Class>,
    pub scheduling: Option<Spanned<Scheduling>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scheduling {
    #[serde(default)]
    pub centers: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub id: Spanned<u32>,
    pub name: Option<Spanned<String>>,
    #[serde(default)]
    pub area: u32,
    pub domain: Option<u32>,
    pub agent: Spanned<PathBuf>,
    pub state_dir: Spanned<PathBuf>,
    pub credentials: Spanned<PathBuf>,
    pub operator: Option<Spanned<PathBuf>>,
    pub operator_listen: Option<Spanned<String>>,
    pub metrics: Option<Spanned<String>>,
    pub view_group: Option<String>,
    pub operate_group: Option<String>,
    pub admin_group: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Linkstate {
    pub listen: Option<Spanned<String>>,
    pub restart_hold_ms: Option<Spanned<u32>>,
    pub lifetime_s: Option<Spanned<u32>>,
    pub spf_initial_ms: Option<Spanned<u32>>,
    pub spf_short_ms: Option<Spanned<u32>>,
    pub spf_long_ms: Option<Spanned<u32>>,
    pub originate_delay_ms: Option<Spanned<u32>>,
    pub min_arrival_ms: Option<Spanned<u32>>,
    pub digest_interval_ms: Option<Spanned<u32>>,
    pub session_timeout_ms: Option<Spanned<u32>>,
    pub restart_time_s: Option<Spanned<u32>>,
    pub objects_per_origin: Option<Spanned<u32>>,
    pub objects: Option<Spanned<u32>>,
    pub objects_per_second: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub listen: Option<Spanned<String>>,
    #[serde(default)]
    pub authorities: Vec<Spanned<String>>,
    pub probe_interval_ms: Option<Spanned<u32>>,
    #[serde(default)]
    pub port: Vec<Port>,
    pub max_class: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub name: Spanned<String>,
    pub identities: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Class {
    pub identity: Spanned<String>,
    pub max_class: Spanned<u32>,
}
