//! The declarative file of a running dataplane: checked, compared, applied as far as a running one can, written back.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use dmsc_proto::v1;
use tonic::Status;

use crate::config::{Config, Difference, Idle};
use crate::shared::Shared;

/// Serves one call; `generation` is that of the tables, which this does not change.
///
/// # Errors
/// INVALID_ARGUMENT with the mistake and its line; FAILED_PRECONDITION naming what only a restart changes. Nothing is changed then.
pub fn serve(
    shared: &Shared,
    generation: u64,
    request: &v1::AgentConfigRequest,
) -> Result<v1::AgentConfigReply, Status> {
    let mut current = shared
        .current
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let reply = v1::AgentConfigReply {
        generation,
        ..Default::default()
    };
    if request.action == "dump" {
        if !request.text.is_empty() {
            return Err(Status::invalid_argument("\"dump\" takes no text"));
        }
        let text = current.to_text();
        return Ok(v1::AgentConfigReply { text, ..reply });
    }
    let wanted = || {
        Config::parse(Path::new("configuration"), &request.text)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    };
    match request.action.as_str() {
        "check" => {
            wanted()?;
            Ok(reply)
        }
        "diff" => {
            let diff = current.differences(&wanted()?);
            Ok(v1::AgentConfigReply {
                diff: lines(&diff),
                ..reply
            })
        }
        "apply" => {
            let wanted = wanted()?;
            let diff = current.differences(&wanted);
            let fixed: Vec<_> = diff.iter().filter(|d| !d.at_run_time).cloned().collect();
            if !fixed.is_empty() {
                return Err(Status::failed_precondition(format!(
                    "nothing was changed, because a running dataplane cannot take up {}; write the file and restart with --takeover",
                    lines(&fixed).join("; ")
                )));
            }
            if !diff.is_empty() {
                take_up(shared, &wanted);
                tracing::info!(changes = lines(&diff).join("; "), "configuration changed");
                *current = wanted;
            }
            Ok(v1::AgentConfigReply {
                changed: !diff.is_empty(),
                diff: lines(&diff),
                ..reply
            })
        }
        other => Err(Status::invalid_argument(format!(
            "action {other:?} is none of \"check\", \"diff\", \"apply\", \"dump\""
        ))),
    }
}

fn lines(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}

/// The ports are the same ones in the same order: anything else was refused.
fn take_up(shared: &Shared, wanted: &Config) {
    for (port, config) in shared.ports.iter().zip(&wanted.ports) {
        port.tuning.set(config);
    }
    shared.polls.store(wanted.idle == Idle::Poll, Relaxed);
    for worker in &shared.workers {
        worker.hurry();
    }
}
