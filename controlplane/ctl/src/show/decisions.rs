//! `show decisions`: what a scheduling center changed, and why.

use dmsc_proto::v1::DecisionsRequest;
use serde::Serialize;

use crate::cli::operator::DecisionsArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;
use crate::text::wall_clock;

/// JSON of `show decisions`.
#[derive(Debug, Serialize)]
pub struct DecisionsView {
    /// The latest last.
    decisions: Vec<DecisionView>,
}

#[derive(Debug, Serialize)]
struct DecisionView {
    at_ms: u64,
    text: String,
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(
    operator: &mut Operator,
    args: &DecisionsArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = DecisionsRequest { limit: args.limit };
    let reply = operator.client.show_decisions(request).await;
    let decisions = operator.answer(reply)?.decisions.into_iter();
    let view = DecisionsView {
        decisions: decisions
            .map(|one| DecisionView {
                at_ms: one.at_ms,
                text: one.text,
            })
            .collect(),
    };
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    if view.decisions.is_empty() {
        output.line("nothing was decided yet")?;
    }
    for one in &view.decisions {
        output.line(&format!("{}  {}", wall_clock(one.at_ms), one.text))?;
    }
    Ok(())
}
