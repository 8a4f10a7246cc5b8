//! `show authorisations`: what prefix authorities signed, and what they took back.

use dmsc_proto::v1::{AuthorisationInfo, AuthorisationsReply, PageRequest, RevocationInfo};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::text::{hexadecimal, joined, name, name_or_null, or_dash, or_none, remaining};

/// Names that a line of the table has room for.
const SHOWN: usize = 4;

/// JSON of `show authorisations`.
#[derive(Debug, Serialize)]
pub struct AuthorisationsView {
    authorisations: Vec<AuthorisationView>,
    revocations: Vec<RevocationView>,
}

#[derive(Debug, Serialize)]
struct AuthorisationView {
    authority: String,
    /// As text: 64 bits do not fit a JSON number.
    serial: String,
    domain: u32,
    gateway: u32,
    identity: String,
    /// Negative: since when it is expired.
    expires_in_s: i64,
    /// "valid", "expired" or "revoked".
    state: String,
    grants: u32,
    /// The first of them.
    names: Vec<String>,
    fragment: u32,
    fragments: u32,
}

#[derive(Debug, Serialize)]
struct RevocationView {
    authority: String,
    serial: String,
    domain: u32,
    /// Subtree; `null`: everything of this authority.
    name: Option<String>,
    /// `null`: any.
    gateway: Option<u32>,
    identity: Option<String>,
    /// The root took back, not an authority: certificates of `node`, of `authority`, or of keys.
    by_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    key_sha256: Vec<String>,
    reason: String,
    forgotten_in_s: i64,
}

impl From<AuthorisationInfo> for AuthorisationView {
    fn from(one: AuthorisationInfo) -> Self {
        Self {
            authority: one.authority,
            serial: one.serial.to_string(),
            domain: one.domain,
            gateway: one.gateway,
            identity: one.identity,
            expires_in_s: one.expires_in_s,
            state: one.state,
            grants: one.grants,
            names: one.names.iter().map(|bytes| name(bytes)).collect(),
            fragment: one.fragment,
            fragments: one.fragments,
        }
    }
}

impl From<RevocationInfo> for RevocationView {
    fn from(one: RevocationInfo) -> Self {
        Self {
            authority: one.authority,
            serial: one.serial.to_string(),
            domain: one.domain,
            name: name_or_null(&one.name),
            gateway: (one.gateway != 0).then_some(one.gateway),
            identity: (!one.identity.is_empty()).then_some(one.identity),
            by_root: one.by_root,
            node: (one.node != 0).then_some(one.node),
            key_sha256: one.key_sha256.iter().map(|key| hexadecimal(key)).collect(),
            reason: one.reason,
            forgotten_in_s: one.forgotten_in_s,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &Operator, output: &mut Output) -> Result<(), Failure> {
    let ask = |mut client: Client, limit, after| async move {
        let request = PageRequest { limit, after };
        client.show_authorisations(request).await
    };
    let mut reply: AuthorisationsReply = operator.pages(0, ask).await?;
    reply.authorisations.sort_by(|a, b| {
        (a.gateway, &a.identity, a.serial).cmp(&(b.gateway, &b.identity, b.serial))
    });
    let view = AuthorisationsView {
        authorisations: reply
            .authorisations
            .into_iter()
            .map(AuthorisationView::from)
            .collect(),
        revocations: reply
            .revocations
            .into_iter()
            .map(RevocationView::from)
            .collect(),
    };
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    output.table(
        &authorisations(&view.authorisations),
        "no authorisations are known",
    )?;
    let (by_root, others): (Vec<_>, Vec<_>) = view.revocations.iter().partition(|one| one.by_root);
    if !others.is_empty() {
        output.line("")?;
        output.table(&revocations(&others), "")?;
    }
    if !by_root.is_empty() {
        output.line("")?;
        output.table(&root_revocations(&by_root), "")?;
    }
    Ok(())
}

fn root_revocations(view: &[&RevocationView]) -> Grid {
    let mut grid = Grid::new(&["revoked by", "certificates of", "forgotten", "reason"]);
    for one in view {
        let whose = match (one.node, one.key_sha256.as_slice()) {
            (Some(node), _) => format!("node {node}"),
            (None, []) => format!("authority {}", one.authority),
            (None, keys) => format!("keys {}", joined(keys)),
        };
        grid.row([
            "root".to_owned(),
            whose,
            remaining(one.forgotten_in_s),
            or_dash(&one.reason),
        ]);
    }
    grid
}

fn authorisations(view: &[AuthorisationView]) -> Grid {
    let mut grid = Grid::new(&[
        "authority",
        ">serial",
        ">domain",
        ">gateway",
        "identity",
        "state",
        "expires",
        "fragment",
        ">grants",
        "names",
    ]);
    for one in view {
        let mut names = joined(one.names.iter().take(SHOWN));
        if let Some(more @ 1..) = (one.grants as usize).checked_sub(SHOWN.min(one.names.len())) {
            names.push_str(&format!(" and {more} more"));
        }
        grid.row([
            or_dash(&one.authority),
            one.serial.clone(),
            one.domain.to_string(),
            one.gateway.to_string(),
            or_dash(&one.identity),
            or_dash(&one.state),
            remaining(one.expires_in_s),
            format!("{} of {}", one.fragment, one.fragments),
            one.grants.to_string(),
            names,
        ]);
    }
    grid
}

fn revocations(view: &[&RevocationView]) -> Grid {
    let mut grid = Grid::new(&[
        "revoked by",
        ">serial",
        ">domain",
        "names",
        ">gateway",
        "identity",
        "forgotten",
        "reason",
    ]);
    for one in view {
        grid.row([
            or_dash(&one.authority),
            one.serial.clone(),
            one.domain.to_string(),
            one.name.clone().unwrap_or_else(|| "all".to_owned()),
            or_none(one.gateway.unwrap_or(0)),
            or_dash(one.identity.as_deref().unwrap_or("")),
            remaining(one.forgotten_in_s),
            or_dash(&one.reason),
        ]);
    }
    grid
}
