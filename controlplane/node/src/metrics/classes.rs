//! What became of frames at the queues of ports, by class: read from the dataplane for each reader.

use std::time::Duration;

use dmsc_proto::v1;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::timeout;

use super::node::{Counters, Two};
use crate::handle::Handle;

/// A dataplane that does not answer by then is left out, and the rest is told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most ports of a dataplane.
const MAX_PORTS: usize = 32;
/// Classes are 0 to this.
const LAST_CLASS: u32 = 7;

/// One number of a class.
type Read = fn(&v1::ClassCounters) -> u64;

/// Name, unit, text.
const TOLD: [(&str, Option<Unit>, &str, Read); 5] = [
    (
        "class_queued_frames",
        None,
        "Frames that came to the queue of their class at the port they leave by; where nothing backs up they pass by and are not counted",
        |one| one.came,
    ),
    (
        "class_sent_frames",
        None,
        "Of them, those that left",
        |one| one.sent,
    ),
    (
        "class_sent",
        Some(Unit::Bytes),
        "Bytes of those that left",
        |one| one.sent_bytes,
    ),
    (
        "class_dropped_frames",
        None,
        "Of them, those that found no room, or lost it to a higher class",
        |one| one.dropped,
    ),
    (
        "class_marked_frames",
        None,
        "Of them, those that were marked: congestion experienced",
        |one| one.marked,
    ),
];

/// Counters of all ports; nothing if the dataplane does not answer in time.
pub async fn read(handle: &Handle) -> Vec<v1::PortCounters> {
    let read = async {
        let slot = handle.pods().dataplane.lock().await;
        let mut agent = slot.as_ref()?.agent.clone();
        drop(slot);
        agent.counters().await.ok()
    };
    timeout(PATIENCE, read)
        .await
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// By port and class.
pub fn register(registry: &mut Registry, ports: &[v1::PortCounters]) {
    for (name, unit, help, value) in TOLD {
        let counters: Counters<Two> = Family::default();
        for port in ports.iter().take(MAX_PORTS) {
            for class in port.classes.iter().filter(|one| one.class <= LAST_CLASS) {
                let labels = [
                    ("port", port.port.clone()),
                    ("class", class.class.to_string()),
                ];
                let counter: Counter<_, _> = counters.get_or_create(&labels).clone();
                counter.inc_by(value(class));
            }
        }
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, counters),
            None => registry.register(name, help, counters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_classes_have_their_numbers_and_no_others() {
        let class = |class, came| v1::ClassCounters {
            class,
            came,
            sent: came - 1,
            sent_bytes: 100 * came,
            dropped: 1,
            marked: 0,
        };
        let port = |port: &str, classes| v1::PortCounters {
            port: port.into(),
            classes,
            ..Default::default()
        };
        let mut registry = Registry::with_prefix("dmsc");
        let ports = [
            port("sr1", vec![class(0, 9), class(7, 4), class(8, 1)]),
            port("pod1", vec![]),
        ];
        register(&mut registry, &ports);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "dmsc_class_queued_frames_total{port=\"sr1\",class=\"0\"} 9",
            "dmsc_class_sent_bytes_total{port=\"sr1\",class=\"7\"} 400",
            "dmsc_class_dropped_frames_total{port=\"sr1\",class=\"0\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("class=\"8\"") && !text.contains("pod1"),
            "{text}"
        );
    }
}
