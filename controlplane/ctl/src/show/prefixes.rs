//! `show prefixes`: who serves what, with which right.

use dmsc_proto::v1::{PrefixInfo, PrefixesReply, PrefixesRequest};
use dmsc_wire::NameBuf;
use serde::Serialize;

use crate::cli::operator::PrefixesArgs;
use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::text::{name, or_dash};

/// JSON of `show prefixes`.
#[derive(Debug, Serialize)]
pub struct PrefixesView {
    /// Prefixes that the control plane knows in all.
    total: u64,
    prefixes: Vec<PrefixView>,
}

#[derive(Debug, Serialize)]
struct PrefixView {
    domain: u32,
    prefix: String,
    members: Vec<MemberView>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    gateway: u32,
    metric: u32,
    weight: u32,
    /// "valid", "stale" or "waiting".
    state: String,
    authority: String,
    identity: String,
}

impl From<PrefixInfo> for PrefixView {
    fn from(prefix: PrefixInfo) -> Self {
        let members = prefix.members.into_iter().map(|member| MemberView {
            gateway: member.gateway,
            metric: member.metric,
            weight: member.weight,
            state: member.state,
            authority: member.authority,
            identity: member.identity,
        });
        Self {
            domain: prefix.domain,
            prefix: name(&prefix.name),
            members: members.collect(),
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(
    operator: &Operator,
    args: &PrefixesArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let under = args.under.as_ref();
    let under = under.map_or_else(Vec::new, |under: &NameBuf| under.as_bytes().to_vec());
    let ask = |mut client: Client, limit, after| {
        let request = PrefixesRequest {
            limit,
            under: under.clone(),
            after,
        };
        async move { client.show_prefixes(request).await }
    };
    let reply: PrefixesReply = operator.pages(args.limit, ask).await?;
    let view = PrefixesView {
        total: reply.total,
        prefixes: reply.prefixes.into_iter().map(PrefixView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    output.table(&grid(&view), "no prefixes")?;
    if (view.prefixes.len() as u64) < view.total {
        output.line(&format!(
            "{} of {} prefixes are shown",
            view.prefixes.len(),
            view.total
        ))?;
    }
    Ok(())
}

fn grid(view: &PrefixesView) -> Grid {
    let mut grid = Grid::new(&[
        ">domain",
        "prefix",
        ">gateway",
        ">metric",
        ">weight",
        "state",
        "authority",
        "identity",
    ]);
    for prefix in &view.prefixes {
        for member in &prefix.members {
            grid.row([
                prefix.domain.to_string(),
                prefix.prefix.clone(),
                member.gateway.to_string(),
                member.metric.to_string(),
                member.weight.to_string(),
                or_dash(&member.state),
                or_dash(&member.authority),
                or_dash(&member.identity),
            ]);
        }
    }
    grid
}
