//! The longest time between two looks of the worker at its ports, window by window, and its throughput.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use dmsc_proto::v1;
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use serde::Serialize;
use tonic::transport::Channel;

use crate::record::spread;

/// A window: the gauge counts since the start, so what is in one is the difference of two readings.
const WINDOW: Duration = Duration::from_millis(10);

/// Longest gaps of all windows, µs. Windows in which every gap was too short to be counted have 0.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct GapUs {
    /// Half of the windows had no longer one.
    pub p50: f64,
    /// One window of a hundred had a longer one.
    pub p99: f64,
    /// One window of a thousand had a longer one.
    pub p999: f64,
    /// The longest of all.
    pub max: f64,
    /// Windows.
    pub windows: usize,
}

impl GapUs {
    /// Figure by figure over several phases.
    pub fn median(phases: &[GapUs]) -> GapUs {
        let of = |get: fn(&GapUs) -> f64| {
            let values: Vec<f64> = phases.iter().map(get).collect();
            spread(&values).map_or(0.0, |s| s.median)
        };
        GapUs {
            p50: of(|g| g.p50),
            p99: of(|g| g.p99),
            p999: of(|g| g.p999),
            max: phases.iter().map(|g| g.max).fold(0.0, f64::max),
            windows: phases.iter().map(|g| g.windows).sum(),
        }
    }

    /// What is more here than in `quiet`; negative where it is less.
    pub fn less(&self, quiet: &GapUs) -> GapUs {
        GapUs {
            p50: self.p50 - quiet.p50,
            p99: self.p99 - quiet.p99,
            p999: self.p999 - quiet.p999,
            max: self.max - quiet.max,
            windows: self.windows,
        }
    }

    /// One phase, for a table.
    pub fn text(&self) -> String {
        format!("p99.9 {:.0} µs; max {:.0} µs", self.p999, self.max)
    }

    /// Two phases side by side, for a table.
    pub fn both(quiet: &GapUs, busy: &GapUs) -> String {
        format!(
            "p99.9 {:.0}, {:.0} µs; max {:.0}, {:.0} µs",
            quiet.p999, busy.p999, quiet.max, busy.max
        )
    }
}

/// What came out of a phase.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Samples {
    /// How long.
    pub seconds: f64,
    /// Packets per second that the worker received, from all ports.
    pub pps: f64,
    /// Gaps.
    pub gap_us: GapUs,
    /// Share of rounds that found packets.
    pub busy_rounds: f64,
}

/// Reads the worker until it is told to stop.
pub struct Sampler {
    task: tokio::task::JoinHandle<anyhow::Result<Samples>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Sampler {
    /// Begins a phase.
    pub fn start(client: DataplaneAgentClient<Channel>) -> Sampler {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(sample(client, stopped));
        Sampler { task, stop }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the dataplane does not answer.
    pub async fn stop(self) -> anyhow::Result<Samples> {
        let _ = self.stop.send(()); // it failed by itself
        self.task.await?
    }
}

async fn read(client: &mut DataplaneAgentClient<Channel>) -> anyhow::Result<v1::Worker> {
    let reply = client.list_workers(v1::ListWorkersRequest {}).await;
    let reply = reply.context("the dataplane does not answer")?.into_inner();
    reply
        .workers
        .into_iter()
        .next()
        .context("a dataplane has a worker")
}

async fn sample(
    mut client: DataplaneAgentClient<Channel>,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) -> anyhow::Result<Samples> {
    let first = read(&mut client).await?;
    let mut before = first.clone();
    let mut longest = Vec::new();
    let mut ticks = tokio::time::interval(WINDOW);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut stopped => true,
        };
        let now = read(&mut client).await?;
        longest.push(longest_us(&before, &now));
        before = now;
        if last {
            break;
        }
    }
    let seconds = (before.now_cycles - first.now_cycles) as f64 / before.cycles_hz as f64;
    let bursts = (before.bursts - first.bursts) as f64;
    let empty = (before.empty_polls - first.empty_polls) as f64;
    longest.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (longest.len() as f64 * share).ceil() as usize;
        longest.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    Ok(Samples {
        seconds,
        pps: (before.packets - first.packets) as f64 / seconds,
        gap_us: GapUs {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
            windows: longest.len(),
        },
        busy_rounds: bursts / (bursts + empty).max(1.0),
    })
}

/// The longest gap between two readings, as the upper end of its class, µs.
fn longest_us(before: &v1::Worker, now: &v1::Worker) -> f64 {
    let earlier: BTreeMap<u64, u64> = before.gaps.iter().map(|g| (g.from_ns, g.count)).collect();
    let new = |gap: &&v1::Gap| gap.count > earlier.get(&gap.from_ns).copied().unwrap_or(0);
    let longest = now
        .gaps
        .iter()
        .filter(new)
        .map(|gap| gap.to_ns.min(gap.from_ns * 9 / 8));
    longest.max().map_or(0.0, |ns| ns as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_counts() {
        let worker = |gaps: &[(u64, u64)]| v1::Worker {
            gaps: gaps
                .iter()
                .map(|&(from_ns, count)| v1::Gap {
                    from_ns,
                    to_ns: from_ns * 9 / 8,
                    count,
                })
                .collect(),
            ..v1::Worker::default()
        };
        let before = worker(&[(8_000, 5), (80_000, 1)]);
        assert_eq!(longest_us(&before, &before), 0.0);
        let now = worker(&[(8_000, 5), (16_000, 1), (80_000, 1)]);
        assert_eq!(longest_us(&before, &now), 18.0);
    }

    #[test]
    fn less_than_without_updates_is_less_than_nothing() {
        let of = |us| GapUs {
            p999: us,
            ..GapUs::default()
        };
        assert_eq!(of(100.0).less(&of(300.0)).p999, -200.0);
    }
}
