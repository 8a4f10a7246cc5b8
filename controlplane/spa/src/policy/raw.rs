//! The policy file as it is written: field names and TOML types, nothing checked beyond them.

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub authority: Authority,
    #[serde(default)]
    pub policy: Vec<Spanned<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authority {
    pub authorisation_seconds: Option<Spanned<u32>>,
    pub stale_seconds: Option<Spanned<u32>>,
    pub proof_seconds: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub identity: Spanned<String>,
    pub domain: Option<Spanned<u32>>,
    #[serde(default)]
    pub subtrees: Vec<Spanned<String>>,
    pub names_file: Option<Spanned<String>>,
    pub maximum_depth: Option<Spanned<u32>>,
    pub gateways: Option<Spanned<Vec<Spanned<u32>>>>,
}
