//! `trace add N`: the next N packets through every stage of the worker (design §2, the walk of a packet).

use dmsc_proto::v1::{TracePacketsRequest, TracedPacket};
use futures::StreamExt;
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::TraceAddArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::microseconds;

/// One packet in JSON, one line each.
#[derive(Debug, Serialize)]
pub struct PacketView {
    number: u32,
    in_port: String,
    steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
struct StepView {
    stage: String,
    /// Since the packet was received.
    at_ns: u64,
    what: String,
}

impl From<TracedPacket> for PacketView {
    fn from(packet: TracedPacket) -> Self {
        Self {
            number: packet.number,
            in_port: packet.in_port,
            steps: packet
                .steps
                .into_iter()
                .map(|step| StepView {
                    stage: step.stage,
                    at_ns: step.at_ns,
                    what: step.what,
                })
                .collect(),
        }
    }
}

/// Waits for the packets and prints them; an interrupt ends it early.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(
    agent: &mut Agent,
    args: &TraceAddArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = TracePacketsRequest {
        count: args.count,
        port: args.port.clone().unwrap_or_default(),
    };
    let mut packets = agent.client.trace_packets(request).await?.into_inner();
    let mut seen = 0;
    while seen < args.count {
        let packet = tokio::select! {
            packet = packets.next() => packet,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(packet) = packet.transpose()? else {
            break;
        };
        seen += 1;
        let view = PacketView::from(packet);
        if output.is_json() {
            output.json_line(&view)?;
        } else {
            output.line(&text(&view))?;
        }
    }
    Ok(())
}

fn text(packet: &PacketView) -> String {
    let origin = match packet.in_port.as_str() {
        "" => "made by this router".to_owned(),
        port => format!("received on {port}"),
    };
    let mut text = format!("packet {}, {origin}", packet.number);
    for step in &packet.steps {
        text.push_str(&format!(
            "\n  {:>9} us  {:<9} {}",
            microseconds(step.at_ns),
            step.stage,
            step.what
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::TraceStep;

    #[test]
    fn a_line_per_stage() {
        let view = PacketView::from(TracedPacket {
            number: 1,
            in_port: "pod1".to_owned(),
            steps: vec![TraceStep {
                stage: "resolve".to_owned(),
                at_ns: 2_300,
                what: "/shop/b: group 2, gateway 4".to_owned(),
            }],
        });
        assert_eq!(
            text(&view),
            "packet 1, received on pod1\n        2.3 us  resolve   /shop/b: group 2, gateway 4"
        );
    }
}
