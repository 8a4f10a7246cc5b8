//! The policy of an authority.

use std::path::PathBuf;

use dmsc_wire::NameBuf;
use serde::Serialize;

use crate::plan::Plan;
use crate::routes::{self, Changes};

#[derive(Debug, Serialize)]
struct PolicyFile {
    authority: PolicyHead,
    policy: Vec<Policy>,
}

#[derive(Debug, Serialize)]
struct PolicyHead {
    authorisation_seconds: u32,
}

#[derive(Debug, Serialize)]
struct Policy {
    identity: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subtrees: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<u32>,
}

/// The policy of authority `index`: of each identity the names for which this one has the longest subtree. What it signs lives `seconds`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn policy_file(
    plan: &Plan,
    index: usize,
    changes: &Changes,
    seconds: u32,
) -> Result<String, toml::ser::Error> {
    let mine = |names: &[NameBuf]| -> Vec<String> {
        names
            .iter()
            .filter(|name| plan.authority_of(name) == Some(index))
            .map(ToString::to_string)
            .collect()
    };
    let gateway = |pod: usize| vec![routes::node_id(plan, plan.pods[pod].gateway).0];
    let mut policy = Vec::new();
    if let Some(files) = &changes.files {
        policy.extend(files.iter().map(|names| Policy {
            identity: names.identity.clone(),
            subtrees: Vec::new(),
            names_file: Some(names.file.clone()),
            gateways: gateway(names.pod),
        }));
    } else {
        policy.extend(routes::services(plan).map(|(pod, service)| Policy {
            identity: service.identity.clone(),
            subtrees: mine(&service.names),
            names_file: None,
            gateways: gateway(pod),
        }));
        policy.extend(plan.edge_names().map(|(pod, identity, names)| Policy {
            identity: identity.into(),
            subtrees: mine(&names),
            names_file: None,
            gateways: gateway(pod),
        }));
        policy.extend(plan.policies.iter().map(|(identity, names)| Policy {
            identity: identity.clone(),
            subtrees: mine(names),
            names_file: None,
            gateways: Vec::new(),
        }));
        policy.retain(|p| !p.subtrees.is_empty());
    }
    toml::to_string(&PolicyFile {
        authority: PolicyHead {
            authorisation_seconds: seconds,
        },
        policy,
    })
}
