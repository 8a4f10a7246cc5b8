//! What daemons that are no scheduling center say to calls for one.

use dmsc_daemon::Role;
use tonic::{Request, Response, Status};

use super::gate::Gate;

fn elsewhere() -> Status {
    Status::failed_precondition(
        "this is no scheduling center (scsc): ask one, with --node and the operator socket of its configuration",
    )
}

/// For calls that look.
///
/// # Errors
/// Always.
pub fn no_center<T>() -> Result<Response<T>, Status> {
    Err(elsewhere())
}

/// For calls that change something: written down.
///
/// # Errors
/// Always.
pub fn refuse<R, T>(gate: &Gate, request: &Request<R>, call: &str) -> Result<Response<T>, Status> {
    let caller = gate.caller(request);
    let outcome = gate.permit(&caller, Role::Operate);
    let outcome = outcome.and(Err::<Response<T>, _>(elsewhere()));
    gate.record(&caller, call, String::new(), &outcome, 0);
    outcome
}

/// For what only an authority does.
///
/// # Errors
/// Always.
pub fn no_authority<T>() -> Result<Response<T>, Status> {
    Err(Status::failed_precondition(
        "a scheduling center revokes nothing: ask the prefix authority (spa) that gave the right",
    ))
}
