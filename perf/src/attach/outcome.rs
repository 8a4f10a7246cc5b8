//! What came out: every point as measured, medians, and a table for people.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::order::Seen;
use super::rig::Memory;
use super::site::By;
use crate::http::cost::{Cost, Part};
use crate::record::{Spread, spread};

/// One load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// What the caller saw.
    pub seen: Seen,
    /// CPU time per call or message, µs: of the gateway,
    pub gateway_us: f64,
    /// of both processes together,
    pub ends_us: f64,
    /// and of softirqs that nobody was charged for.
    pub softirq_us: f64,
    /// Times that somebody slept and was woken, per call or message.
    pub wake_ups: f64,
}

impl Point {
    /// Of a load and its cost.
    pub fn new(seen: Seen, cost: &Cost) -> Point {
        let each = |ns: u64| ns as f64 / 1_000.0 / seen.done.max(1) as f64;
        let parts = cost.parts();
        let of = |part| each(parts.get(&part).map_or(0, |usage| usage.cpu_ns));
        let sleeps: u64 = parts.values().map(|usage| usage.sleeps).sum();
        Point {
            seen,
            gateway_us: of(Part::Gateway),
            ends_us: of(Part::Client) + of(Part::Server),
            softirq_us: of(Part::Softirq),
            wake_ups: sleeps as f64 / seen.done.max(1) as f64,
        }
    }

    fn cpu_us(&self) -> f64 {
        self.gateway_us + self.ends_us + self.softirq_us
    }

    fn per_s(&self) -> f64 {
        self.seen.done as f64 / self.seen.seconds.max(1e-9)
    }
}

/// One kind and size in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// How both are attached.
    pub by: By,
    /// Length of messages, bytes.
    pub size: u16,
    /// At the low rate.
    pub low: Point,
    /// As many as 64 under way bring.
    pub high: Point,
    /// One way.
    pub bulk: Point,
    /// At the end.
    pub memory: Memory,
    /// What the gateway dropped since its start.
    pub drops: BTreeMap<String, u64>,
}

/// Medians of one kind and size.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// How both are attached.
    pub by: By,
    /// Length of messages, bytes.
    pub size: u16,
    /// Round trip at the low rate, µs.
    pub p50_us: Spread,
    /// The same.
    pub p99_us: Spread,
    /// CPU time per round trip at the low rate, µs, everybody's.
    pub low_cpu_us: Spread,
    /// Of it the gateway's.
    pub low_gateway_us: Spread,
    /// Of it that of both processes.
    pub low_ends_us: Spread,
    /// Round trips per second with 64 under way.
    pub trips_per_s: Spread,
    /// CPU time per round trip then, µs, everybody's.
    pub high_cpu_us: Spread,
    /// Of it the gateway's.
    pub high_gateway_us: Spread,
    /// Of it that of both processes.
    pub high_ends_us: Spread,
    /// One way, Gbit/s of messages.
    pub gbit_per_s: Spread,
    /// CPU time per MB, µs, everybody's.
    pub cpu_us_per_mb: Spread,
    /// Of it the gateway's.
    pub gateway_us_per_mb: Spread,
    /// Of it that of both processes.
    pub ends_us_per_mb: Spread,
    /// Messages and calls that were lost, per million.
    pub lost_ppm: Spread,
    /// Memory of the gateway, MB.
    pub gateway_mb: Spread,
    /// Memory of one process, MB.
    pub end_mb: Spread,
}

/// Everything.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// Calls per second of the low rate.
    pub rate: u64,
    /// By kind and size.
    pub figures: Vec<Figures>,
}

impl Outcome {
    /// Of the rounds so far.
    pub fn new(rate: u64, rounds: &[Round]) -> Outcome {
        let mut seen: Vec<(u16, By)> = Vec::new();
        for round in rounds {
            let key = (round.size, round.by);
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
        seen.sort_by_key(|(size, by)| (*size, *by as u8));
        let figures = seen.into_iter().filter_map(|(size, by)| {
            let rounds: Vec<&Round> = rounds
                .iter()
                .filter(|r| r.by == by && r.size == size)
                .collect();
            Figures::new(by, size, &rounds)
        });
        Outcome {
            rate,
            figures: figures.collect(),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(
            ["SIZE", "WHAT"]
                .map(String::from)
                .into_iter()
                .chain(By::ALL.iter().map(|by| by.as_str().to_uppercase())),
        );
        let mut sizes: Vec<u16> = self.figures.iter().map(|f| f.size).collect();
        sizes.dedup();
        for size in sizes {
            for (what, of) in rows(self.rate) {
                let cells = By::ALL.map(|by| {
                    let found = self.figures.iter().find(|f| f.size == size && f.by == by);
                    found.map_or_else(String::new, of)
                });
                let head = [size.to_string(), what];
                table.add_row(head.into_iter().chain(cells));
            }
        }
        table.to_string()
    }
}

impl Figures {
    fn new(by: By, size: u16, rounds: &[&Round]) -> Option<Figures> {
        let of = |value: &dyn Fn(&Round) -> f64| {
            let values: Vec<f64> = rounds.iter().map(|round| value(round)).collect();
            spread(&values)
        };
        // Messages of a megabyte.
        let mb = 1e6 / f64::from(size);
        let lost = |r: &Round| {
            let seen = [r.low.seen, r.high.seen, r.bulk.seen];
            let (lost, done) = seen
                .iter()
                .fold((0, 0), |sum, s| (sum.0 + s.lost, sum.1 + s.done));
            lost as f64 * 1e6 / (lost + done).max(1) as f64
        };
        Some(Figures {
            by,
            size,
            p50_us: of(&|r| r.low.seen.p50_us)?,
            p99_us: of(&|r| r.low.seen.p99_us)?,
            low_cpu_us: of(&|r| r.low.cpu_us())?,
            low_gateway_us: of(&|r| r.low.gateway_us)?,
            low_ends_us: of(&|r| r.low.ends_us)?,
            trips_per_s: of(&|r| r.high.per_s())?,
            high_cpu_us: of(&|r| r.high.cpu_us())?,
            high_gateway_us: of(&|r| r.high.gateway_us)?,
            high_ends_us: of(&|r| r.high.ends_us)?,
            gbit_per_s: of(&|r| r.bulk.per_s() * f64::from(size) * 8.0 / 1e9)?,
            cpu_us_per_mb: of(&|r| r.bulk.cpu_us() * mb)?,
            gateway_us_per_mb: of(&|r| r.bulk.gateway_us * mb)?,
            ends_us_per_mb: of(&|r| r.bulk.ends_us * mb)?,
            lost_ppm: of(&lost)?,
            gateway_mb: of(&|r| r.memory.gateway_mb)?,
            end_mb: of(&|r| r.memory.end_mb)?,
        })
    }
}

type Cell = fn(&Figures) -> String;

fn rows(rate: u64) -> Vec<(String, Cell)> {
    let low = format!("{rate}/s: CPU µs per round trip, gateway + both ends");
    vec![
        (format!("{rate}/s: round trip p50, p99, µs"), |f| {
            format!("{:.0}, {:.0}", f.p50_us.median, f.p99_us.median)
        }),
        (low, |f| {
            parts(&f.low_cpu_us, &f.low_gateway_us, &f.low_ends_us)
        }),
        ("64 under way: round trips/s".into(), |f| {
            format!(
                "{:.0} ({:.0} to {:.0})",
                f.trips_per_s.median, f.trips_per_s.min, f.trips_per_s.max
            )
        }),
        (
            "  CPU µs per round trip, gateway + both ends".into(),
            |f| parts(&f.high_cpu_us, &f.high_gateway_us, &f.high_ends_us),
        ),
        ("bulk, one way: Gbit/s".into(), |f| {
            format!(
                "{:.2} ({:.2} to {:.2})",
                f.gbit_per_s.median, f.gbit_per_s.min, f.gbit_per_s.max
            )
        }),
        ("  CPU µs per MB, gateway + both ends".into(), |f| {
            parts(&f.cpu_us_per_mb, &f.gateway_us_per_mb, &f.ends_us_per_mb)
        }),
        ("lost, per million".into(), |f| {
            format!("{:.0}", f.lost_ppm.median)
        }),
        ("memory of gateway, of one end, MB".into(), |f| {
            format!("{:.0}, {:.0}", f.gateway_mb.median, f.end_mb.median)
        }),
    ]
}

fn parts(all: &Spread, gateway: &Spread, ends: &Spread) -> String {
    let digits = if all.median < 100.0 { 1 } else { 0 };
    format!(
        "{:.digits$} = {:.digits$} + {:.digits$}",
        all.median, gateway.median, ends.median
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(by: By, size: u16, gateway_us: f64) -> Round {
        let point = Point {
            seen: Seen {
                done: 1_000,
                seconds: 0.5,
                p50_us: 30.0,
                ..Seen::default()
            },
            gateway_us,
            ends_us: 3.0,
            softirq_us: 0.5,
            wake_ups: 2.0,
        };
        Round {
            round: 1,
            by,
            size,
            low: point,
            high: point,
            bulk: point,
            memory: Memory::default(),
            drops: BTreeMap::new(),
        }
    }

    #[test]
    fn medians_are_by_kind_and_size() {
        let rounds = [
            round(By::Virtio, 1_000, 1.0),
            round(By::Udp, 1_000, 4.0),
            round(By::Udp, 1_000, 6.0),
        ];
        let outcome = Outcome::new(500, &rounds);
        let [udp, virtio] = &outcome.figures[..] else {
            panic!("two kinds: {outcome:?}");
        };
        assert_eq!((udp.by, virtio.by), (By::Udp, By::Virtio));
        assert_eq!(udp.low_gateway_us.median, 5.0);
        assert_eq!(udp.low_cpu_us.median, 8.5);
        assert_eq!(udp.trips_per_s.median, 2_000.0);
        assert_eq!(udp.gbit_per_s.median, 0.016);
        assert_eq!(virtio.cpu_us_per_mb.median, 4_500.0);
        let table = outcome.table();
        assert!(
            table.contains("500/s") && table.contains("VIRTIO"),
            "{table}"
        );
    }
}
