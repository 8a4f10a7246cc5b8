//! A connection of bytes as a call: to an instance that takes it, and into counters and log.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use dmsc_http::preface::Code;
use dmsc_pod::Pin;
use dmsc_wire::NameBuf;
use tokio::net::TcpStream;
use tracing::debug;

use super::tunnel::{End, Replay, Spliced, abort, splice};
use crate::choose::Callee;
use crate::pod::Context;
use crate::record::AccessRecord;
use crate::stats::{Class, Direction, Protocol};

/// Instances that are asked at most.
const ATTEMPTS: u32 = 3;

/// What became of a connection.
struct Outcome {
    spliced: Spliced,
    instance: Option<Pin>,
    peer: String,
    attempts: u32,
    error: Option<&'static str>,
}

/// Carries a connection until it is over; one that nobody takes is reset.
pub(super) async fn carry(
    mut tcp: TcpStream,
    first: Bytes,
    name: &NameBuf,
    context: &Arc<Context>,
) {
    let (began, start) = (SystemTime::now(), Instant::now());
    let callee = context.chooser.callee(name);
    callee.stats.begin();
    let outcome = attempt(&mut tcp, first, &callee, context).await;
    let class = match outcome.error {
        None => Class::Success,
        Some(reason) => {
            abort(tcp);
            context.shared.stats.error(reason);
            Class::ServerError
        }
    };
    let duration = start.elapsed();
    callee.stats.end(Protocol::Tcp, class, duration);
    if context.log.enabled() {
        context.log.write(AccessRecord {
            began,
            direction: Direction::Out,
            pod: context.identity().to_owned(),
            peer: outcome.peer,
            name: Some(name.clone()),
            instance: outcome.instance,
            protocol: Protocol::Tcp,
            method: None,
            path: None,
            status: None,
            grpc_status: None,
            error: outcome.error,
            attempts: outcome.attempts,
            bytes_in: outcome.spliced.sent,
            bytes_out: outcome.spliced.received,
            duration,
            trace_id: None,
        });
    }
}

async fn attempt(
    tcp: &mut TcpStream,
    first: Bytes,
    callee: &Callee,
    context: &Arc<Context>,
) -> Outcome {
    let timeout = context
        .shared
        .config
        .outbound
        .as_ref()
        .map(|one| one.timeout);
    let deadline = Instant::now() + timeout.unwrap_or_default();
    let replay = Replay::new(first);
    let mut tried = Vec::new();
    let mut outcome = Outcome {
        spliced: Spliced {
            sent: 0,
            received: 0,
            end: End::Lost,
        },
        instance: None,
        peer: String::new(),
        attempts: 0,
        error: Some("no-instance"),
    };
    while outcome.attempts < ATTEMPTS {
        let Some(chosen) = callee.choose(&tried, deadline).await else {
            return outcome;
        };
        outcome.attempts += 1;
        outcome.instance = chosen.pin;
        tried.push(chosen.pin);
        let opened = callee.dial(&chosen, context);
        let mut tunnel = match tokio::time::timeout_at(deadline.into(), opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                debug!(pod = context.identity(), name = %callee.name, %error, "an instance is not reached");
                chosen.rest();
                outcome.error = Some("not-reached");
                continue;
            }
            Err(_) => {
                chosen.rest();
                outcome.error = Some("timeout");
                return outcome;
            }
        };
        let connection = &tunnel.quic().connection;
        connection.peer_identity().clone_into(&mut outcome.peer);
        outcome.instance = connection.instance();
        outcome.spliced = splice(tcp, &replay, &mut tunnel).await;
        outcome.error = match &outcome.spliced.end {
            End::Done => None,
            End::Tcp(_) => Some("caller-gone"),
            End::Lost => Some("lost"),
            End::Stream(code) => match Code::from_quic(*code) {
                Some(code) if code.nothing_given() => {
                    if code != Code::NotServed {
                        chosen.rest();
                    }
                    if replay.is_whole() {
                        outcome.error = Some(code.as_str());
                        continue;
                    }
                    Some(code.as_str())
                }
                Some(code) => Some(code.as_str()),
                None => Some("reset"),
            },
        };
        return outcome;
    }
    outcome
}
