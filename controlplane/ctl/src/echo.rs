//! What `ping`, `probe` and `trace` share: the request, following the answers, and how one is written.

use std::time::Duration;

use dmsc_proto::v1::{EchoReply, EchoRequest, Hop};
use dmsc_wire::NameBuf;
use futures::StreamExt;
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::{EchoArgs, WayArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::{name, name_or_null};
use crate::{EXIT_OK, EXIT_UNANSWERED};

/// The most RECORD slots that fit a header (design §3).
pub const RECORD_SLOTS: u32 = 20;

/// The echo request that the options describe; one packet, no RECORD.
pub fn request(to: &NameBuf, args: &EchoArgs) -> EchoRequest {
    EchoRequest {
        class: args.class,
        payload_length: args.size,
        ..request_by(to, &args.way)
    }
}

/// One packet to a name, that way.
pub fn request_by(to: &NameBuf, way: &WayArgs) -> EchoRequest {
    EchoRequest {
        domain: way.domain,
        name: to.as_name().as_bytes().to_vec(),
        count: 1,
        timeout_ms: milliseconds_of(way.timeout),
        flow_label: way.flow,
        gateway: way.pin.map_or(0, |pin| pin.gateway),
        attachment: way.pin.map_or(0, |pin| u32::from(pin.attachment)),
        ..EchoRequest::default()
    }
}

/// A time as requests carry it: at least a millisecond.
pub fn milliseconds_of(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Figures that grow with every answer.
pub trait Tally: Default {
    /// An answer in JSON.
    type Answer: Serialize + for<'a> From<&'a EchoReply>;
    /// What is said at the end.
    type Summary: Serialize;

    /// One more answer, or its absence.
    fn add(&mut self, reply: &EchoReply);
    /// An answer as a line.
    fn line(reply: &EchoReply) -> String;
    /// How many were answered.
    fn answered(&self) -> u64;
    /// All of them.
    fn summary(self, name: String) -> Self::Summary;
    /// The end as text.
    fn text(summary: &Self::Summary) -> String;
}

/// Sends, prints a line per answer and a summary, and returns the exit status: 1 when nobody answered.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn follow<T: Tally>(
    agent: &mut Agent,
    request: EchoRequest,
    name: String,
    output: &mut Output,
) -> Result<u8, Failure> {
    let mut tally = T::default();
    let mut replies = agent.client.echo(request).await?.into_inner();
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(reply) = reply.transpose()? else {
            break;
        };
        tally.add(&reply);
        if output.is_json() {
            output.json_line(&T::Answer::from(&reply))?;
        } else {
            output.line(&T::line(&reply))?;
        }
    }
    let status = match tally.answered() {
        0 => EXIT_UNANSWERED,
        _ => EXIT_OK,
    };
    let summary = tally.summary(name);
    if output.is_json() {
        output.json_line(&summary)?;
    } else {
        output.line(&T::text(&summary))?;
    }
    Ok(status)
}

/// One answer, or its absence, in JSON.
#[derive(Debug, Serialize)]
pub struct AnswerView {
    pub(crate) sequence: u32,
    pub(crate) answered: bool,
    pub(crate) round_trip_ns: Option<u64>,
    gateway: Option<u32>,
    attachment: Option<u32>,
    /// Source name of the answer.
    name: Option<String>,
    error: Option<String>,
    error_node: Option<u32>,
    /// With too-big: the largest header + payload.
    error_mtu_bytes: Option<u32>,
}

impl From<&EchoReply> for AnswerView {
    fn from(reply: &EchoReply) -> Self {
        let some = |value: u32| (reply.answered || value != 0).then_some(value);
        Self {
            sequence: reply.sequence,
            answered: reply.answered,
            round_trip_ns: reply.answered.then_some(reply.round_trip_ns),
            gateway: some(reply.gateway),
            attachment: some(reply.attachment),
            name: name_or_null(&reply.name),
            error: (!reply.error.is_empty()).then(|| reply.error.clone()),
            error_node: (reply.error_node != 0).then_some(reply.error_node),
            error_mtu_bytes: (reply.error_mtu != 0).then_some(reply.error_mtu),
        }
    }
}

/// Who answered, for a sentence: `/shop/b at gateway 4, attachment 3`.
pub fn responder(reply: &EchoReply) -> String {
    let place = match (reply.gateway, reply.attachment) {
        (0, _) => String::new(),
        (gateway, 0) => format!(" at gateway {gateway}"),
        (gateway, attachment) => format!(" at gateway {gateway}, attachment {attachment}"),
    };
    format!("{}{place}", name(&reply.name))
}

/// Why there was no answer, in a sentence.
pub fn reason(reply: &EchoReply) -> String {
    let from = match reply.error_node {
        0 => String::new(),
        node => format!(" (from node {node})"),
    };
    let meaning = match reply.error.as_str() {
        "timeout" | "" => "no answer in time".to_owned(),
        "no-route" => "no route: nobody who can be reached owns the name".to_owned(),
        "hop-limit" => "hop limit exceeded: is there a loop?".to_owned(),
        "too-big" => format!(
            "too big: header and payload may be at most {} bytes",
            reply.error_mtu
        ),
        "denied" => "denied by an access rule".to_owned(),
        "source-not-owned" => "the source name is not owned by the sender".to_owned(),
        "overloaded" => "overloaded: over the budget of a port".to_owned(),
        other => other.to_owned(),
    };
    format!("{meaning}{from}")
}

/// One RECORD slot in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopView {
    pub(crate) node: u32,
    /// Port ids of that node; `null`: the packet was made or delivered there.
    pub(crate) in_port: Option<u32>,
    pub(crate) out_port: Option<u32>,
    pub(crate) residence_ns: u32,
}

impl From<&Hop> for HopView {
    fn from(hop: &Hop) -> Self {
        Self {
            node: hop.node,
            in_port: (hop.in_port != 0).then_some(hop.in_port),
            out_port: (hop.out_port != 0).then_some(hop.out_port),
            residence_ns: hop.residence_ns,
        }
    }
}

/// Splits RECORD slots into the way there and the way back: the way there ends where the answering gateway handled the
/// request, and where no gateway is known, where a packet was delivered.
pub fn ways(reply: &EchoReply) -> (Vec<HopView>, Vec<HopView>) {
    let hops: Vec<HopView> = reply.hops.iter().map(HopView::from).collect();
    let turn = hops
        .iter()
        .position(|hop| reply.gateway != 0 && hop.node == reply.gateway)
        .or_else(|| hops.iter().position(|hop| hop.out_port.is_none()));
    match turn {
        Some(last) => {
            let (there, back) = hops.split_at(last + 1);
            (there.to_vec(), back.to_vec())
        }
        None => (hops, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(node: u32, in_port: u32, out_port: u32) -> Hop {
        Hop {
            node,
            in_port,
            out_port,
            residence_ns: 100,
        }
    }

    #[test]
    fn the_way_back_begins_after_the_answering_gateway() {
        let reply = EchoReply {
            gateway: 4,
            hops: vec![
                hop(1, 0, 1),
                hop(5, 1, 2),
                hop(4, 1, 3),
                hop(4, 3, 1),
                hop(5, 2, 1),
                hop(1, 1, 0),
            ],
            ..EchoReply::default()
        };
        let (there, back) = ways(&reply);
        let nodes = |way: &[HopView]| way.iter().map(|hop| hop.node).collect::<Vec<_>>();
        assert_eq!(nodes(&there), [1, 5, 4]);
        assert_eq!(nodes(&back), [4, 5, 1]);
        assert_eq!(there[0].in_port, None);
    }

    #[test]
    fn an_own_pod_is_one_hop_away() {
        let reply = EchoReply {
            gateway: 1,
            hops: vec![hop(1, 0, 3), hop(1, 3, 0)],
            ..EchoReply::default()
        };
        let (there, back) = ways(&reply);
        assert_eq!((there.len(), back.len()), (1, 1));
    }

    #[test]
    fn a_lost_answer_has_no_figures() {
        let view = AnswerView::from(&EchoReply {
            sequence: 3,
            error: "no-route".to_owned(),
            error_node: 5,
            ..EchoReply::default()
        });
        let json = serde_json::to_value(view).expect("JSON");
        assert_eq!(json["round_trip_ns"], serde_json::Value::Null);
        assert_eq!(json["gateway"], serde_json::Value::Null);
        assert_eq!(json["error_node"], 5);
    }

    #[test]
    fn errors_are_sentences() {
        let mut reply = EchoReply {
            error: "too-big".to_owned(),
            error_mtu: 1400,
            error_node: 6,
            ..EchoReply::default()
        };
        assert!(reason(&reply).contains("1400 bytes (from node 6)"));
        reply.error = "something-new".to_owned();
        assert!(reason(&reply).starts_with("something-new"));
    }
}
