//! What links are like: read from the dataplane once a second, smoothed, and given to the link state, which tells the others when that is worth it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use dmsc_linkstate::engine::figures::Figures;
use dmsc_linkstate::{AdjacencyId, Event};
use dmsc_proto::v1;
use tokio::time::{MissedTickBehavior, interval};

use crate::handle::Handle;
use crate::node::Node;

/// Between two readings.
const SECOND: Duration = Duration::from_secs(1);
/// Bytes of less time are no rate.
const SHORTEST: Duration = Duration::from_millis(200);
/// A rate that falls is so many parts, of which the new one is one. One that rises counts as it is: a link that fills is everybody's loss, and whoever acts on it
/// looks at several readings.
const PARTS: u64 = 2;
/// Readings that a loss is over: one minute.
const WINDOW: usize = 60;
/// Of fewer hellos no loss is told.
const LEAST_HELLOS: u64 = 100;

/// Never ends by itself. Without a dataplane, or with one that does not measure, nothing is told anew.
pub async fn measure(handle: Handle) {
    let mut gauges = Gauges::default();
    let start = Instant::now();
    let mut tick = interval(SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let slot = handle.pods().dataplane.lock().await;
        let agent = slot.as_ref().map(|dataplane| dataplane.agent.clone());
        drop(slot);
        let read = match agent {
            Some(mut agent) => agent.links().await.ok(),
            None => None,
        };
        let figures = read.map(|(adjacencies, ports)| {
            gauges.read(start.elapsed(), &adjacencies, &ports);
            gauges.figures(&adjacencies)
        });
        let told = handle.query(move |node| {
            if let Some(figures) = figures {
                node.links_measured(figures);
            }
        });
        if told.await.is_none() {
            return;
        }
    }
}

impl Node {
    /// What links are like now. A capacity that is configured here goes before that of the port.
    fn links_measured(&mut self, mut figures: Vec<(AdjacencyId, Figures)>) {
        for (id, figures) in &mut figures {
            let link = self.links.get(id);
            let configured = link.map_or(0, |link| link.adjacency.settings.capacity_kbps);
            if configured > 0 {
                figures.capacity_kbps = configured;
            }
        }
        self.event(Event::LinksMeasured(figures));
    }
}

/// Bytes that leave by one port.
#[derive(Debug)]
struct Rate {
    at: Duration,
    bytes: u64,
    /// Smoothed; `None` before the second reading.
    kbps: Option<u64>,
    capacity_kbps: u64,
}

/// Sums of hellos that came and of those that are missing, one per reading.
type Hellos = VecDeque<(u64, u64)>;

/// One link while it is up.
#[derive(Debug, Default)]
struct Gauge {
    hellos: Hellos,
    /// µs.
    delay: Option<u32>,
    /// µs.
    variation: Option<u32>,
    /// Millionths.
    loss: Option<u32>,
}

/// All readings that still count.
#[derive(Debug, Default)]
struct Gauges {
    ports: HashMap<String, Rate>,
    links: HashMap<u32, Gauge>,
}

impl Rate {
    fn read(&mut self, at: Duration, port: &v1::Port) {
        self.capacity_kbps = u64::from(port.capacity_mbps) * 1_000;
        let span = at.saturating_sub(self.at);
        if span < SHORTEST {
            return;
        }
        // Of another process of the dataplane the first reading says nothing: what was before holds for a second more.
        if let Some(bytes) = port.tx_bytes.checked_sub(self.bytes) {
            let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            let new = bytes.saturating_mul(8) / span_ms;
            let old = self.kbps.unwrap_or(new);
            self.kbps = Some(new.max((old * (PARTS - 1) + new) / PARTS));
        }
        (self.at, self.bytes) = (at, port.tx_bytes);
    }
}

impl Gauge {
    fn read(&mut self, quality: &v1::LinkQuality) {
        let sums = (quality.hellos, quality.hellos_lost);
        // It came up between two readings, or another process of the dataplane goes on: what was before holds until there is something new.
        if self.hellos.back().is_some_and(|last| sums.0 < last.0) {
            self.hellos.clear();
        }
        self.hellos.push_back(sums);
        if self.hellos.len() > WINDOW + 1 {
            self.hellos.pop_front();
        }
        self.loss = loss_ppm(&self.hellos).or(self.loss);
        if quality.round_trip_ns.is_some() || quality.hellos >= LEAST_HELLOS {
            // One way is half of there and back.
            let one_way = |ns: Option<u64>| Some(u32::try_from(ns? / 2_000).unwrap_or(u32::MAX));
            self.delay = one_way(quality.round_trip_ns);
            self.variation = one_way(quality.variation_ns);
        }
    }
}

impl Gauges {
    fn read(&mut self, at: Duration, adjacencies: &[v1::Adjacency], ports: &[v1::Port]) {
        self.ports
            .retain(|name, _| ports.iter().any(|port| port.name == *name));
        for port in ports {
            let rate = self.ports.entry(port.name.clone()).or_insert(Rate {
                at,
                bytes: port.tx_bytes,
                kbps: None,
                capacity_kbps: 0,
            });
            rate.read(at, port);
        }
        self.links
            .retain(|id, _| adjacencies.iter().any(|one| one.id == *id));
        for one in adjacencies {
            let gauge = self.links.entry(one.id).or_default();
            match &one.quality {
                Some(quality) => gauge.read(quality),
                None => *gauge = Gauge::default(),
            }
        }
    }

    fn figures(&self, adjacencies: &[v1::Adjacency]) -> Vec<(AdjacencyId, Figures)> {
        let each = adjacencies.iter().filter_map(|one| {
            let id = AdjacencyId(u16::try_from(one.id).ok()?);
            one.quality.as_ref()?;
            let link = self.links.get(&one.id)?;
            let rate = self.ports.get(&one.port);
            let known = rate.and_then(|rate| Some((rate.capacity_kbps, rate.kbps?)));
            let (capacity_kbps, used_kbps) = known.unwrap_or_default();
            let figures = Figures {
                delay_us: link.delay,
                variation_us: link.variation,
                loss_ppm: link.loss,
                capacity_kbps,
                used_kbps,
            };
            Some((id, figures))
        });
        each.collect()
    }
}

/// Of the window; `None` while it is too short to tell.
fn loss_ppm(window: &Hellos) -> Option<u32> {
    let (first, last) = (window.front()?, window.back()?);
    let (came, lost) = (
        last.0.saturating_sub(first.0),
        last.1.saturating_sub(first.1),
    );
    let all = came.saturating_add(lost);
    (all >= LEAST_HELLOS).then(|| u32::try_from(lost * 1_000_000 / all).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(tx_bytes: u64) -> v1::Port {
        v1::Port {
            name: "sr1".into(),
            tx_bytes,
            capacity_mbps: 100,
            ..Default::default()
        }
    }

    fn adjacency(quality: Option<v1::LinkQuality>) -> v1::Adjacency {
        v1::Adjacency {
            id: 3,
            port: "sr1".into(),
            quality,
            ..Default::default()
        }
    }

    fn quality(hellos: u64, hellos_lost: u64) -> Option<v1::LinkQuality> {
        Some(v1::LinkQuality {
            round_trip_ns: Some(3_000_000),
            variation_ns: Some(40_000),
            hellos,
            hellos_lost,
        })
    }

    /// One reading per second.
    fn after(readings: &[(u64, Option<v1::LinkQuality>)]) -> Option<Figures> {
        let mut gauges = Gauges::default();
        let mut last = Vec::new();
        for (second, (bytes, quality)) in readings.iter().enumerate() {
            let at = Duration::from_secs(second as u64);
            last = vec![adjacency(*quality)];
            gauges.read(at, &last, &[port(*bytes)]);
        }
        gauges.figures(&last).pop().map(|(id, figures)| {
            assert_eq!(id, AdjacencyId(3));
            figures
        })
    }

    #[test]
    fn bytes_become_a_smoothed_rate_that_outlives_the_counter() {
        let ten = |second: u64| (second * 1_250_000, quality(second, 0));
        let first = after(&[ten(0)]).unwrap();
        assert_eq!((first.capacity_kbps, first.used_kbps), (0, 0), "not known");
        assert_eq!(
            (first.delay_us, first.variation_us),
            (Some(1_500), Some(20))
        );
        let steady = after(&[ten(0), ten(1), ten(2)]).unwrap();
        assert_eq!((steady.capacity_kbps, steady.used_kbps), (100_000, 10_000));
        let twice = (5_000_000, quality(3, 0));
        let more = after(&[ten(0), ten(1), ten(2), twice]).unwrap();
        assert_eq!(more.used_kbps, 20_000);
        let less = (2 * 1_250_000, quality(3, 0));
        let less = after(&[ten(0), ten(1), ten(2), less]).unwrap();
        assert_eq!(less.used_kbps, 5_000, "half of what it was");
        for restarted in [
            after(&[ten(8), ten(9), ten(0)]),
            after(&[ten(8), ten(9), ten(0), ten(1)]),
        ] {
            assert_eq!(restarted.unwrap().used_kbps, 10_000);
        }
    }

    #[test]
    fn loss_is_over_a_minute_and_not_over_an_outage() {
        let loss = |readings: &[Option<v1::LinkQuality>]| {
            let readings: Vec<_> = readings.iter().map(|quality| (0, *quality)).collect();
            after(&readings).and_then(|figures| figures.loss_ppm)
        };
        assert_eq!(loss(&[quality(0, 0), quality(90, 9)]), None, "too few");
        assert_eq!(loss(&[quality(50, 5), quality(149, 6)]), Some(10_000));
        assert_eq!(loss(&[quality(50, 5), None]), None);
        assert_eq!(
            loss(&[quality(900, 90), quality(0, 0), quality(100, 0)]),
            Some(0)
        );
        let mut minutes: Vec<_> = (0..10).map(|n| quality(20 * n, 10 * n)).collect();
        minutes.extend((10..80).map(|n| quality(20 * n, 90)));
        assert_eq!(loss(&minutes), Some(0), "long ago");
    }

    #[test]
    fn another_process_of_the_dataplane_changes_nothing_and_a_silent_peer_does() {
        let unknown = |hellos| {
            Some(v1::LinkQuality {
                hellos,
                ..Default::default()
            })
        };
        let delay = |last| {
            let readings = [quality(0, 0), quality(200, 20), last];
            let figures = after(&readings.map(|quality| (0, quality))).unwrap();
            (figures.delay_us, figures.loss_ppm)
        };
        assert_eq!(delay(unknown(5)), (Some(1_500), Some(90_909)));
        assert_eq!(delay(unknown(300)).0, None);
    }
}
