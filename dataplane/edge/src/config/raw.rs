//! The file as it is written; what may be left out is an `Option`.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub operator: Option<PathBuf>,
    pub view_group: Option<String>,
    pub metrics: Option<String>,
    pub access_log: Option<String>,
    pub series: Option<u32>,
    #[serde(default)]
    pub pod: Vec<Pod>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pod {
    pub identity: String,
    pub credentials: PathBuf,
    pub gateway: String,
    pub netns: Option<PathBuf>,
    pub domain: Option<u32>,
    pub shared: Option<Shared>,
    pub outbound: Option<Outbound>,
    #[serde(default)]
    pub redirect: Vec<Redirect>,
    #[serde(default)]
    pub serve: Vec<Serve>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    pub socket: PathBuf,
    pub port: String,
    pub address: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outbound {
    pub http: Option<String>,
    pub dns: Option<String>,
    pub suffix: Option<String>,
    pub range: Option<String>,
    pub tcp: Option<String>,
    pub timeout: Option<String>,
    pub class: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redirect {
    pub address: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Serve {
    pub prefix: String,
    pub to: String,
    pub health: Option<Health>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub kind: Option<String>,
    pub path: Option<String>,
    pub service: Option<String>,
    pub every: Option<String>,
    pub timeout: Option<String>,
    pub rise: Option<u32>,
    pub fall: Option<u32>,
}
