//! One established stream: what the engine has to say goes out while the stream takes more, what comes goes in.

use std::time::Duration;

use dmsc_linkstate::AdjacencyId;
use dmsc_proto::v1;
use dmsc_spa::verify::Certificate;
use dmsc_wire::NodeId;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tracing::warn;

use super::convert;
use crate::handle::Handle;

/// So long is waited for a neighbour to hear why its session ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs until either end stops; tells the node.
pub(super) async fn run(
    handle: Handle,
    (link, peer, peer_link): (AdjacencyId, (NodeId, Certificate), AdjacencyId),
    mut inbound: Streaming<v1::NeighbourMessage>,
    outbound: mpsc::Sender<Result<v1::NeighbourMessage, Status>>,
) {
    let (peer, certificate) = peer;
    let up = handle
        .query(move |node| node.session_up(link, (peer, certificate), peer_link))
        .await;
    let Some(Some((session, wake, mut ended))) = up else {
        return;
    };
    let write = async {
        loop {
            // The place first, the message then: a neighbour that does not read costs one message, not a queue.
            let Ok(place) = outbound.reserve().await else {
                return "the neighbour closed the stream".to_owned();
            };
            match handle.query(move |node| node.next_message(session)).await {
                None => return "this control plane is ending".to_owned(),
                Some(Some(message)) => place.send(Ok(convert::to_wire(message))),
                Some(None) => {
                    drop(place);
                    wake.notified().await;
                }
            }
        }
    };
    let read = async {
        loop {
            let message = match inbound.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return "the neighbour closed the stream".to_owned(),
                Err(status) => return status.message().to_owned(),
            };
            match convert::from_wire(message) {
                Ok(message) => {
                    let took = handle
                        .query(move |node| node.received(session, message))
                        .await;
                    if took.is_none() {
                        return "this control plane is ending".to_owned();
                    }
                }
                Err(reason) => {
                    warn!(%peer, adjacency = link.0, reason, "the neighbour breaks the protocol");
                    return format!("the neighbour sent {reason}");
                }
            }
        }
    };
    let why = tokio::select! {
        why = write => Ok(why),
        why = read => Ok(why),
        _ = ended.wait_for(Option::is_some) => Err(()),
    };
    let Ok(why) = why else {
        let why = ended.borrow().clone().unwrap_or_default();
        let status = Status::aborted(format!("the other end ended this session: {why}"));
        // Only an accepting end can tell, and only somebody who listens.
        let _ = timeout(FAREWELL, outbound.send(Err(status))).await;
        return;
    };
    handle
        .query(move |node| node.end_session(session, &why))
        .await;
}
