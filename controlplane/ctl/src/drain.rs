//! `drain` and `undrain`: out of the network and back, without losing a packet.

use std::time::Duration;

use dmsc_proto::v1::{DrainProgress, DrainRequest, UndrainRequest};
use futures::StreamExt;
use serde::Serialize;
use tonic::Status;

use crate::cli::operator::DrainArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;

/// One stage in JSON, one line each.
#[derive(Debug, Serialize)]
pub struct StageView {
    /// "withdrawing", "flooding", "waiting", "leaving" or "drained".
    stage: String,
    what: String,
    done: bool,
}

/// Longer than the server takes, so that its reason comes first.
const GRACE: Duration = Duration::from_secs(5);

/// Drains, and prints each stage as it is reached.
///
/// # Errors
/// When the control plane refuses, or not everything was given up in time: the node stays drained as far as it is.
pub async fn run(
    operator: &mut Operator,
    args: &DrainArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let timeout = args.timeout.max(Duration::from_millis(1));
    let request = DrainRequest {
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        stop: args.stop,
    };
    let reply = operator.client.drain(request).await;
    let mut stages = operator.answer(reply)?;
    loop {
        let stage = tokio::time::timeout(timeout + GRACE, stages.next()).await;
        let stage: Option<Result<DrainProgress, Status>> = stage.map_err(|_| {
            Failure::NotDrained(
                "the control plane says nothing any more; see dmscctl about".to_owned(),
            )
        })?;
        let Some(stage) = stage else {
            return Err(Failure::NotDrained(
                "the control plane went away in the middle of it".to_owned(),
            ));
        };
        let stage = stage.map_err(|status| Failure::NodeRefused(Box::new(status)))?;
        if output.is_json() {
            output.json_line(&StageView {
                stage: stage.stage.clone(),
                what: stage.what.clone(),
                done: stage.done,
            })?;
        } else {
            output.line(&format!("{:<11} {}", stage.stage, stage.what))?;
        }
        if !stage.done {
            continue;
        }
        return match stage.stage.as_str() {
            "drained" => Ok(()),
            _ => Err(Failure::NotDrained(stage.what)),
        };
    }
}

/// Takes the node back.
///
/// # Errors
/// When the control plane refuses.
pub async fn back(operator: &mut Operator, output: &mut Output) -> Result<(), Failure> {
    let reply = operator.client.undrain(UndrainRequest {}).await;
    operator.answer(reply)?;
    if !output.is_json() {
        output.line("in service again")?;
    }
    Ok(())
}
