//! `give`: a statement signed by the root is given to a daemon, which verifies it and tells the network.

use dmsc_proto::v1::GiveStatementRequest;
use serde::Serialize;

use crate::cli::operator::GiveArgs;
use crate::config;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;

/// JSON of `give`.
#[derive(Debug, Serialize)]
pub struct GiveView {
    /// What it voids, for people.
    what: String,
    /// It was there already; nothing changed.
    known: bool,
}

/// Gives the file and prints what it voids.
///
/// # Errors
/// When the file cannot be read, or the daemon does not believe it.
pub async fn run(
    operator: &mut Operator,
    args: &GiveArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = GiveStatementRequest {
        root_revocation: config::read_bytes(&args.file)?,
    };
    let reply = operator.client.give_statement(request).await;
    let reply = operator.answer(reply)?;
    let view = GiveView {
        what: reply.what,
        known: reply.known,
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        let before = if view.known { "known already" } else { "taken" };
        output.line(&format!("{before}; it voids {}", view.what))?;
    }
    Ok(())
}
