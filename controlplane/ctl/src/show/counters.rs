//! `show counters`: the packet equation of every port (design §4): rx + originated = sent + consumed + drops.

use std::collections::BTreeMap;

use dmsc_proto::v1::{ClassCounters, ListCountersRequest, PortCounters};
use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::{Grid, Output};

/// JSON of `show counters`.
#[derive(Debug, Serialize)]
pub struct CountersView {
    ports: Vec<CountersOfPort>,
}

/// One port; packets since the start of the dataplane.
#[derive(Debug, Serialize)]
struct CountersOfPort {
    port: String,
    rx: u64,
    originated: u64,
    sent: u64,
    consumed: u64,
    dropped: u64,
    /// rx + originated − sent − consumed − dropped: packets under way at the time of reading; 0 on a quiet port.
    difference: i128,
    drops: BTreeMap<String, u64>,
    /// Not part of the equation.
    events: BTreeMap<String, u64>,
    /// What left by the port through the queues of its classes.
    classes: Vec<CountersOfClass>,
}

/// One class at one port: came = sent + dropped + waiting.
#[derive(Debug, Serialize)]
struct CountersOfClass {
    class: u32,
    came: u64,
    sent: u64,
    sent_bytes: u64,
    dropped: u64,
    marked: u64,
    waiting: u64,
}

impl From<ClassCounters> for CountersOfClass {
    fn from(class: ClassCounters) -> Self {
        Self {
            class: class.class,
            came: class.came,
            sent: class.sent,
            sent_bytes: class.sent_bytes,
            dropped: class.dropped,
            marked: class.marked,
            waiting: class.came.saturating_sub(class.sent + class.dropped),
        }
    }
}

impl From<PortCounters> for CountersOfPort {
    fn from(port: PortCounters) -> Self {
        let drops: BTreeMap<String, u64> = port.drops.into_iter().collect();
        let dropped = drops.values().sum();
        let ended = i128::from(port.sent) + i128::from(port.consumed) + i128::from(dropped);
        Self {
            difference: i128::from(port.rx) + i128::from(port.originated) - ended,
            port: port.port,
            rx: port.rx,
            originated: port.originated,
            sent: port.sent,
            consumed: port.consumed,
            dropped,
            drops,
            events: port.events.into_iter().collect(),
            classes: port.classes.into_iter().map(Into::into).collect(),
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(
    agent: &mut Agent,
    port: Option<String>,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = ListCountersRequest {
        port: port.unwrap_or_default(),
    };
    let reply = agent.client.list_counters(request).await?.into_inner();
    let view = CountersView {
        ports: reply.ports.into_iter().map(CountersOfPort::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    output.line("packets per port: rx + originated = sent + consumed + dropped + under way")?;
    output.table(&equation(&view), "this dataplane has no ports")?;
    let drops = drops(&view);
    output.line("")?;
    output.table(&drops, "no drops")?;
    let events = events(&view);
    if !events.is_empty() {
        output.line("")?;
        output.table(&events, "")?;
    }
    let classes = classes(&view);
    if !classes.is_empty() {
        output.line("")?;
        output.line("queues of classes, where a port has a rate or its ring was full: came = sent + dropped + waiting")?;
        output.table(&classes, "")?;
    }
    Ok(())
}

fn equation(view: &CountersView) -> Grid {
    let mut grid = Grid::new(&[
        "port",
        ">rx",
        ">originated",
        ">sent",
        ">consumed",
        ">dropped",
        ">under way",
    ]);
    for port in &view.ports {
        grid.row([
            port.port.clone(),
            port.rx.to_string(),
            port.originated.to_string(),
            port.sent.to_string(),
            port.consumed.to_string(),
            port.dropped.to_string(),
            port.difference.to_string(),
        ]);
    }
    grid
}

fn drops(view: &CountersView) -> Grid {
    let mut grid = Grid::new(&["port", "drop reason", ">packets", "remedy"]);
    for port in &view.ports {
        for (reason, packets) in &port.drops {
            grid.row([
                port.port.clone(),
                reason.clone(),
                packets.to_string(),
                remedy(reason).to_owned(),
            ]);
        }
    }
    grid
}

fn events(view: &CountersView) -> Grid {
    let mut grid = Grid::new(&["port", "event", ">count"]);
    for port in &view.ports {
        for (event, count) in &port.events {
            grid.row([port.port.clone(), event.clone(), count.to_string()]);
        }
    }
    grid
}

fn classes(view: &CountersView) -> Grid {
    let mut grid = Grid::new(&[
        "port",
        ">class",
        ">came",
        ">sent",
        ">sent bytes",
        ">dropped",
        ">marked",
        ">waiting",
    ]);
    for port in &view.ports {
        for class in &port.classes {
            grid.row([
                port.port.clone(),
                class.class.to_string(),
                class.came.to_string(),
                class.sent.to_string(),
                class.sent_bytes.to_string(),
                class.dropped.to_string(),
                class.marked.to_string(),
                class.waiting.to_string(),
            ]);
        }
    }
    grid
}

/// What an operator can do about drops whose cause lies outside (design §3, checksums).
fn remedy(reason: &str) -> &'static str {
    match reason {
        "bad-checksum" => "on the sender: ethtool -K <interface> tx off",
        "gso-frame" | "truncated" => "on the sender: ethtool -K <interface> tx off tso off gso off",
        "over-rate" => "more than rate_mbps of the port to leave by: show counters there, by class",
        "tx-ring-full" => {
            "the port to leave by is slower than what comes: show counters there, by class"
        }
        "ip-fragment" => "DMSC is never fragmented: raise the MTU of the links, or send less",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> PortCounters {
        PortCounters {
            port: "pod1".to_owned(),
            rx: 100,
            originated: 5,
            sent: 90,
            consumed: 4,
            drops: [("bad-checksum".to_owned(), 7), ("no-route".to_owned(), 3)].into(),
            events: [("rebound".to_owned(), 2)].into(),
            classes: vec![ClassCounters {
                class: 5,
                came: 10,
                sent: 7,
                dropped: 1,
                ..Default::default()
            }],
        }
    }

    #[test]
    fn the_equation_is_checked_by_the_reader() {
        let view = CountersOfPort::from(port());
        assert_eq!(view.dropped, 10);
        assert_eq!(view.difference, 1);
    }

    #[test]
    fn each_drop_stands_by_its_reason() {
        let view = CountersView {
            ports: vec![port().into()],
        };
        let text = drops(&view).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("bad-checksum") && lines[1].contains("ethtool -K"));
        assert!(lines[2].contains("no-route"));
        assert!(equation(&view).to_string().contains("under way"));
        assert!(events(&view).to_string().contains("rebound"));
        let waiting = &view.ports[0].classes[0].waiting;
        assert_eq!(*waiting, 2);
        assert!(classes(&view).to_string().contains("waiting"));
    }
}
