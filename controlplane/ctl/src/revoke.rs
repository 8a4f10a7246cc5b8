//! `revoke`: an authority ends authorisations early.

use dmsc_proto::v1::RevokeRequest;
use serde::Serialize;

use crate::cli::operator::RevokeArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;

/// JSON of `revoke`.
#[derive(Debug, Serialize)]
pub struct RevokeView {
    /// As text: 64 bits do not fit a JSON number.
    serial: String,
}

/// Asks and prints the number of the revocation.
///
/// # Errors
/// When the authority refuses.
pub async fn run(
    operator: &mut Operator,
    args: &RevokeArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = RevokeRequest {
        domain: args.domain,
        name: args
            .name
            .as_ref()
            .map_or_else(Vec::new, |name| name.as_bytes().to_vec()),
        gateway: args.gateway.unwrap_or(0),
        identity: args.identity.clone().unwrap_or_default(),
        reason: args.reason.clone(),
    };
    let reply = operator.client.revoke(request).await;
    let serial = operator.answer(reply)?.serial.to_string();
    if output.is_json() {
        output.document(&RevokeView { serial })?;
    } else {
        output.line(&format!("revoked, serial {serial}"))?;
    }
    Ok(())
}
