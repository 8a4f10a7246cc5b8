//! `show policies`: of a scheduling center those in force, of a gateway or router those held.

use dmsc_proto::v1::{PageRequest, PoliciesReply};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::policy::PolicyView;
use crate::text::or_dash;

/// JSON of `show policies`.
#[derive(Debug, Serialize)]
pub struct PoliciesView {
    policies: Vec<PolicyView>,
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &Operator, output: &mut Output) -> Result<(), Failure> {
    let ask = |mut client: Client, limit, after| async move {
        client.show_policies(PageRequest { limit, after }).await
    };
    let reply: PoliciesReply = operator.pages(0, ask).await?;
    let view = PoliciesView {
        policies: reply.policies.into_iter().map(PolicyView::from).collect(),
    };
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    let mut grid = Grid::new(&[
        ">domain",
        "prefix",
        ">at gateway",
        "shares",
        ">left s",
        ">number",
        ">replica",
        "by",
        "state",
        "reason",
    ]);
    for policy in &view.policies {
        let gateway = policy.gateway.map_or("any".to_owned(), |id| id.to_string());
        grid.row([
            policy.domain.to_string(),
            policy.prefix.clone(),
            gateway,
            policy.shares_text(),
            policy.left_text(),
            policy.id.clone(),
            policy.replica.to_string(),
            policy.by.clone().unwrap_or_else(|| "center".to_owned()),
            policy.state_text(),
            or_dash(&policy.reason),
        ]);
    }
    output.table(&grid, "no policies: plain routes hold")?;
    Ok(())
}
