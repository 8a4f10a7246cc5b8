//! `watch`: changes as they happen, starting with the present state.

use dmsc_proto::v1::{Event, WatchRequest, event};
use futures::StreamExt;
use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::Output;
use crate::show::adjacencies::AdjacencyView;
use crate::show::attachments::AttachmentView;
use crate::show::ports::PortView;

/// One event in JSON, one line each; exactly one of the last four is there, named by `event`.
#[derive(Debug, Serialize)]
pub struct EventView {
    /// Monotonic clock of the dataplane's machine.
    time_ns: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacency: Option<AdjacencyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<PortView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<AttachmentView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

/// The JSON and the sentence of an event; `None` for kinds that this version does not know.
fn view(event: Event) -> Option<(EventView, String)> {
    let mut view = EventView {
        time_ns: event.time_ns,
        event: "",
        adjacency: None,
        port: None,
        attachment: None,
        generation: None,
    };
    let text = match event.event? {
        event::Event::Adjacency(adjacency) => {
            let text = adjacency.state.clone();
            let adjacency = AdjacencyView::from(adjacency);
            let text = format!("{}: {text}", adjacency.title());
            view.event = "adjacency";
            view.adjacency = Some(adjacency);
            text
        }
        event::Event::Port(port) => {
            let state = if port.carrier {
                "carrier"
            } else {
                "no carrier"
            };
            let text = format!("port {}: {state}", port.name);
            view.event = "port";
            view.port = Some(PortView::from(port));
            text
        }
        event::Event::Attachment(attachment) => {
            let attachment = AttachmentView::from(attachment);
            let text = format!("{}: {}", attachment.title(), attachment.state);
            view.event = "attachment";
            view.attachment = Some(attachment);
            text
        }
        event::Event::Generation(generation) => {
            view.event = "generation";
            view.generation = Some(generation);
            format!("generation {generation} published")
        }
    };
    Some((view, text))
}

/// Prints events until interrupted.
///
/// # Errors
/// When the agent refuses or goes away, or the output cannot be written.
pub async fn run(agent: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let mut events = agent.client.watch(WatchRequest {}).await?.into_inner();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(event) = event.transpose()? else {
            return Ok(());
        };
        let Some((view, text)) = view(event) else {
            continue;
        };
        if output.is_json() {
            output.json_line(&view)?;
        } else {
            output.line(&format!("{:.6} s  {text}", view.time_ns as f64 / 1e9))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::{Adjacency, Port};

    #[test]
    fn events_as_sentences_and_json() {
        let adjacency = Adjacency {
            id: 3,
            port: "sr1".to_owned(),
            peer: 5,
            state: "down".to_owned(),
            ..Adjacency::default()
        };
        let (json, text) = view(Event {
            time_ns: 5,
            event: Some(event::Event::Adjacency(adjacency)),
        })
        .expect("known");
        assert_eq!(text, "adjacency 3 to node 5 on sr1: down");
        let json = serde_json::to_value(json).expect("JSON");
        assert_eq!(json["event"], "adjacency");
        assert_eq!(json["adjacency"]["state"], "down");
        assert!(json.get("port").is_none());

        let port = Port {
            name: "sr1".to_owned(),
            carrier: false,
            ..Port::default()
        };
        let (_, text) = view(Event {
            time_ns: 5,
            event: Some(event::Event::Port(port)),
        })
        .expect("known");
        assert_eq!(text, "port sr1: no carrier");
    }

    #[test]
    fn unknown_events_are_skipped() {
        assert!(
            view(Event {
                time_ns: 1,
                event: None
            })
            .is_none()
        );
    }
}
