//! `trace NAME`: one echo request with RECORD (design §3): every router on the way there and back, its ports and residence time.

use dmsc_proto::v1::EchoReply;
use futures::StreamExt;
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::TraceArgs;
use crate::echo::{self, AnswerView, HopView, RECORD_SLOTS, reason, responder, ways};
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{microseconds, milliseconds};
use crate::{EXIT_OK, EXIT_UNANSWERED};

/// JSON of `trace NAME`.
#[derive(Debug, Serialize)]
pub struct TraceView {
    to: String,
    #[serde(flatten)]
    answer: AnswerView,
    way_there: Vec<HopView>,
    way_back: Vec<HopView>,
    /// Sum over all hops.
    residence_ns: u64,
    /// All slots were filled: hops may be missing at the end.
    slots_exhausted: bool,
}

impl TraceView {
    fn new(to: String, reply: &EchoReply) -> Self {
        let (way_there, way_back) = ways(reply);
        Self {
            to,
            answer: reply.into(),
            way_there,
            way_back,
            residence_ns: reply
                .hops
                .iter()
                .map(|hop| u64::from(hop.residence_ns))
                .sum(),
            slots_exhausted: reply.hops.len() as u32 >= RECORD_SLOTS,
        }
    }
}

/// Sends one request, prints its way and returns the exit status: 1 when nobody answered.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, args: &TraceArgs, output: &mut Output) -> Result<u8, Failure> {
    let Some(name) = &args.name else {
        // The command line parser asks for a name unless `add` is there.
        return Ok(EXIT_UNANSWERED);
    };
    let mut request = echo::request(name, &args.echo);
    request.record_slots = RECORD_SLOTS;
    let mut replies = agent.client.echo(request).await?.into_inner();
    let reply = replies.next().await.transpose()?.unwrap_or_default();
    let view = TraceView::new(name.to_string(), &reply);
    if output.is_json() {
        output.document(&view)?;
    } else {
        print(&view, &reply, output)?;
    }
    Ok(if reply.answered {
        EXIT_OK
    } else {
        EXIT_UNANSWERED
    })
}

fn print(view: &TraceView, reply: &EchoReply, output: &mut Output) -> Result<(), Failure> {
    if reply.answered {
        output.line(&format!(
            "{} answered by {} in {} ms",
            view.to,
            responder(reply),
            milliseconds(reply.round_trip_ns)
        ))?;
    } else {
        output.line(&format!("{}: {}", view.to, reason(reply)))?;
    }
    if reply.hops.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.line(&grid(view).to_string())?;
    if reply.answered {
        output.line("")?;
        output.line(&format!(
            "in routers {} us, on links and in the answering end {} us",
            microseconds(view.residence_ns),
            microseconds(reply.round_trip_ns.saturating_sub(view.residence_ns))
        ))?;
    }
    if view.slots_exhausted {
        output.line(&format!(
            "all {RECORD_SLOTS} slots of the packet are filled: later hops are missing"
        ))?;
    }
    Ok(())
}

fn grid(view: &TraceView) -> Grid {
    let mut grid = Grid::new(&[
        "way",
        ">hop",
        ">node",
        ">in port id",
        ">out port id",
        ">residence us",
    ]);
    let port = |port: Option<u32>, none: &str| port.map_or(none.to_owned(), |id| id.to_string());
    for (way, hops) in [("there", &view.way_there), ("back", &view.way_back)] {
        for (index, hop) in hops.iter().enumerate() {
            grid.row([
                way.to_owned(),
                (index + 1).to_string(),
                hop.node.to_string(),
                port(hop.in_port, "made here"),
                port(hop.out_port, "ends here"),
                microseconds(hop.residence_ns.into()),
            ]);
        }
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::Hop;

    #[test]
    fn there_and_back() {
        let hop = |node, in_port, out_port| Hop {
            node,
            in_port,
            out_port,
            residence_ns: 1_500,
        };
        let reply = EchoReply {
            answered: true,
            gateway: 4,
            round_trip_ns: 10_000,
            hops: vec![hop(1, 0, 1), hop(4, 1, 2), hop(4, 2, 1), hop(1, 1, 0)],
            ..EchoReply::default()
        };
        let view = TraceView::new("/shop/b".to_owned(), &reply);
        assert_eq!(view.residence_ns, 6_000);
        let text = grid(&view).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].starts_with("there") && lines[1].contains("made here"));
        assert!(lines[4].starts_with("back") && lines[4].contains("ends here"));
        let json = serde_json::to_value(&view).expect("JSON");
        assert_eq!(json["answered"], true);
        assert_eq!(json["way_there"][1]["node"], 4);
    }
}
