//! `show pods`: pods registered at this gateway.

use dmsc_proto::v1::{PageRequest, PodInfo, PodsReply};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::text::{joined, name, or_dash, yes};

/// Names that a line of the table has room for.
const SHOWN: usize = 3;

/// JSON of `show pods`.
#[derive(Debug, Serialize)]
pub struct PodsView {
    pods: Vec<PodView>,
}

#[derive(Debug, Serialize)]
struct PodView {
    identity: String,
    attachment: u32,
    port: String,
    /// Of the port: `af_packet`, `vhost`, …
    kind: String,
    address: String,
    udp_port: u32,
    domain: u32,
    health: String,
    reachable: bool,
    lease_left_s: u32,
    serves: Vec<String>,
    /// Prefixes in the link state.
    announced: u32,
    /// Prefixes that are not: see `reason`.
    waiting: u32,
    reason: Option<String>,
}

impl From<PodInfo> for PodView {
    fn from(pod: PodInfo) -> Self {
        Self {
            identity: pod.identity,
            attachment: pod.attachment,
            port: pod.port,
            kind: pod.kind,
            address: pod.address,
            udp_port: pod.udp_port,
            domain: pod.domain,
            health: pod.health,
            reachable: pod.reachable,
            lease_left_s: pod.lease_left_s,
            serves: pod.serves.iter().map(|one| name(one)).collect(),
            announced: pod.announced,
            waiting: pod.waiting,
            reason: (!pod.reason.is_empty()).then_some(pod.reason),
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &Operator, output: &mut Output) -> Result<(), Failure> {
    let ask = |mut client: Client, limit, after| async move {
        client.show_pods(PageRequest { limit, after }).await
    };
    let PodsReply { mut pods, .. } = operator.pages(0, ask).await?;
    pods.sort_by(|a, b| (&a.identity, a.attachment).cmp(&(&b.identity, b.attachment)));
    let view = PodsView {
        pods: pods.into_iter().map(PodView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "no pods are registered here")?;
    }
    Ok(())
}

fn grid(view: &PodsView) -> Grid {
    let mut grid = Grid::new(&[
        "identity",
        ">attachment",
        "port",
        "by",
        "endpoint",
        ">domain",
        "health",
        "reachable",
        ">lease s",
        ">announced",
        ">waiting",
        "serves",
        "reason",
    ]);
    for pod in &view.pods {
        let mut serves = joined(pod.serves.iter().take(SHOWN));
        if let Some(more @ 1..) = pod.serves.len().checked_sub(SHOWN) {
            serves.push_str(&format!(" and {more} more"));
        }
        let endpoint = if pod.address.contains(':') {
            format!("[{}]:{}", pod.address, pod.udp_port)
        } else {
            format!("{}:{}", pod.address, pod.udp_port)
        };
        grid.row([
            pod.identity.clone(),
            pod.attachment.to_string(),
            or_dash(&pod.port),
            or_dash(&pod.kind),
            endpoint,
            pod.domain.to_string(),
            or_dash(&pod.health),
            yes(pod.reachable),
            pod.lease_left_s.to_string(),
            pod.announced.to_string(),
            pod.waiting.to_string(),
            serves,
            or_dash(pod.reason.as_deref().unwrap_or("")),
        ]);
    }
    grid
}
