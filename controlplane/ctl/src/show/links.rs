//! `show links`: links of the network, and what the sessions of the own ones do.

use dmsc_proto::v1::{LinkInfo, ShowRequest};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::{Grid, Output};
use crate::text::{figure, or_dash, yes};

/// JSON of `show links`.
#[derive(Debug, Serialize)]
pub struct LinksView {
    links: Vec<LinkView>,
}

#[derive(Debug, Serialize)]
struct LinkView {
    node: u32,
    id: u32,
    peer: u32,
    peer_id: u32,
    metric: u32,
    delay_us: u32,
    two_way: bool,
    /// As node measures and tells them; absent: not told.
    #[serde(flatten)]
    figures: Figures,
    /// Of an adjacency of this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<OwnView>,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// One way.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_delay_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_variation_us: Option<u32>,
    /// Of what the peer sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_ppm: Option<u32>,
    /// Towards the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_kbps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_kbps: Option<u64>,
}

#[derive(Debug, Serialize)]
struct OwnView {
    hello: String,
    session: String,
    sent_messages: u64,
    received_messages: u64,
    refused_objects: u64,
}

impl From<LinkInfo> for LinkView {
    fn from(link: LinkInfo) -> Self {
        let own = link.own.then_some(OwnView {
            hello: link.hello,
            session: link.session,
            sent_messages: link.sent_messages,
            received_messages: link.received_messages,
            refused_objects: link.refused_objects,
        });
        Self {
            node: link.node,
            id: link.id,
            peer: link.peer,
            peer_id: link.peer_id,
            metric: link.metric,
            delay_us: link.delay_us,
            two_way: link.two_way,
            figures: Figures {
                measured_delay_us: link.measured_delay_us,
                delay_variation_us: link.delay_variation_us,
                loss_ppm: link.loss_ppm,
                capacity_kbps: link.capacity_kbps,
                available_kbps: link.available_kbps,
            },
            own,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &mut Operator, output: &mut Output) -> Result<(), Failure> {
    let reply = operator.client.show_links(ShowRequest {}).await;
    let mut links = operator.answer(reply)?.links;
    // Own ones first: they are what one looks for.
    links.sort_by_key(|link| (!link.own, link.node, link.id));
    let view = LinksView {
        links: links.into_iter().map(LinkView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "no links are known")?;
    }
    Ok(())
}

fn number(value: Option<u32>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn mbit(kbps: u64) -> f64 {
    kbps as f64 / 1e3
}

fn grid(view: &LinksView) -> Grid {
    let mut grid = Grid::new(&[
        ">node",
        ">id",
        ">peer",
        ">peer id",
        ">metric",
        ">delay us",
        "two-way",
        ">measured us",
        ">varies us",
        ">loss %",
        ">capacity Mbit/s",
        ">left Mbit/s",
        "hello",
        "session",
        ">sent",
        ">received",
        ">refused",
    ]);
    for link in &view.links {
        let own =
            |value: fn(&OwnView) -> String| link.own.as_ref().map_or_else(|| "-".to_owned(), value);
        grid.row([
            link.node.to_string(),
            link.id.to_string(),
            link.peer.to_string(),
            link.peer_id.to_string(),
            link.metric.to_string(),
            link.delay_us.to_string(),
            yes(link.two_way),
            or_dash(&number(link.figures.measured_delay_us)),
            or_dash(&number(link.figures.delay_variation_us)),
            figure(link.figures.loss_ppm.map(|ppm| f64::from(ppm) / 1e4), 2),
            figure(link.figures.capacity_kbps.map(mbit), 1),
            figure(link.figures.available_kbps.map(mbit), 1),
            own(|own| or_dash(&own.hello)),
            own(|own| or_dash(&own.session)),
            own(|own| own.sent_messages.to_string()),
            own(|own| own.received_messages.to_string()),
            own(|own| own.refused_objects.to_string()),
        ]);
    }
    grid
}
