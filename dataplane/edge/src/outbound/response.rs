//! What a program is answered: an instance's answer, or the edge's own.

use http::{Response, StatusCode, Version};

use super::account::Account;
use super::answer::Answer;
use super::failure::Failure;
use super::incoming::Incoming;
use super::pool::Lent;
use super::upgrade::Own;
use super::{headers, upgrade};
use crate::choose::Callee;
use crate::stats::Protocol;

/// Tells why there is no other answer.
pub fn refuse(
    failure: &Failure,
    callee: Option<&Callee>,
    mut account: Box<Account>,
) -> Response<Answer> {
    let grpc = account.protocol == Protocol::Grpc;
    let response = failure.response(callee.map(|callee| &callee.name), grpc);
    account.error = Some(failure.reason.as_str());
    account.status = Some(response.status());
    account.grpc_status = grpc.then(|| failure.reason.grpc());
    response.map(|answer| answer.accounted(account))
}

/// Passes an answer on; `own` is the caller's connection, if it may go over to another protocol.
pub fn respond(
    mut response: Response<Incoming>,
    version: Version,
    lent: Lent,
    own: Option<Own>,
    mut account: Box<Account>,
) -> Response<Answer> {
    account.status = Some(response.status());
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched && let Some(own) = own {
        let theirs = hyper::upgrade::on(&mut response);
        let (mut parts, _) = response.into_parts();
        upgrade::answer(&mut parts.status, &mut parts.headers, version);
        parts.version = version;
        tokio::spawn(upgrade::carry(own, theirs, lent, account));
        return Response::from_parts(parts, Answer::empty());
    }
    // HTTP/2 has none that are for one connection only: the library lets no such head in (RFC 9113, 8.2.2).
    if !matches!(response.body(), Incoming::Second(_)) {
        headers::end_to_end(response.headers_mut());
    }
    *response.version_mut() = version;
    account.trailers(response.headers());
    response.map(|incoming| Answer::stream(incoming, lent).accounted(account))
}
