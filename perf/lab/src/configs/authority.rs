//! The configuration of an authority.

use std::path::PathBuf;

use serde::Serialize;

use super::Paths;
use crate::plan::Plan;

#[derive(Debug, Serialize)]
struct AuthorityFile {
    spa: Spa,
}

#[derive(Debug, Serialize)]
struct Spa {
    name: String,
    listen: String,
    credentials: PathBuf,
    state_dir: PathBuf,
    operator: PathBuf,
    policy: PathBuf,
}

/// The configuration of authority `index`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn authority_file(
    plan: &Plan,
    index: usize,
    paths: Paths<'_>,
) -> Result<String, toml::ser::Error> {
    let authority = &plan.authorities[index];
    let name = authority.name.as_str();
    toml::to_string(&AuthorityFile {
        spa: Spa {
            name: name.into(),
            listen: format!("0.0.0.0:{}", authority.port),
            credentials: paths.credentials(name),
            state_dir: paths.state(name),
            operator: paths.operator(name),
            policy: paths.policy(name),
        },
    })
}
