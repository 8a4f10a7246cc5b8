//! `show runtime`: workers at work, as the difference of two readings of their own counters; nothing is stopped for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dmsc_proto::v1::{ListWorkersRequest, Worker};
use serde::Serialize;

use super::workers;
use crate::agent::Agent;
use crate::cli::RuntimeArgs;
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::figure;

/// JSON of `show runtime`; with more than one interval, one line each.
#[derive(Debug, Serialize)]
pub struct RuntimeView {
    interval_s: f64,
    workers: Vec<RuntimeWorker>,
}

/// One worker over one interval; `null` where nothing happened that could be divided by.
#[derive(Debug, PartialEq, Serialize)]
struct RuntimeWorker {
    id: u32,
    core: Option<i32>,
    state: String,
    packets: u64,
    packets_per_second: f64,
    mean_burst: Option<f64>,
    /// Cycles spent on bursts that were not empty, of all cycles.
    busy_ratio: Option<f64>,
    cycles_per_packet: Option<f64>,
    sleeps_per_second: f64,
    asleep_ratio: f64,
    empty_polls_per_second: f64,
    observed_generation: u64,
}

/// Reads, waits, reads again and prints; as often as asked.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(
    agent: &mut Agent,
    args: &RuntimeArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let interval = args.interval.max(Duration::from_millis(1));
    let mut before = read(agent).await?;
    let mut before_at = Instant::now();
    let mut done = 0;
    while args.count == 0 || done < args.count {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        let now = read(agent).await?;
        let now_at = Instant::now();
        let elapsed = now_at - before_at;
        let view = RuntimeView {
            interval_s: elapsed.as_secs_f64(),
            workers: now
                .values()
                .filter_map(|worker| difference(before.get(&worker.id)?, worker, elapsed))
                .collect(),
        };
        if output.is_json() {
            if args.count == 1 {
                output.document(&view)?;
            } else {
                output.json_line(&view)?;
            }
        } else {
            if done > 0 {
                output.line("")?;
            }
            let nothing = "no worker ran over the whole interval (did the dataplane restart?)";
            output.table(&grid(&view), nothing)?;
        }
        (before, before_at) = (now, now_at);
        done += 1;
    }
    Ok(())
}

async fn read(agent: &mut Agent) -> Result<BTreeMap<u32, Worker>, Failure> {
    let reply = agent.client.list_workers(ListWorkersRequest {}).await?;
    let workers = reply.into_inner().workers.into_iter();
    Ok(workers.map(|worker| (worker.id, worker)).collect())
}

/// `None` when counters went backwards: the dataplane restarted between the readings.
fn difference(before: &Worker, now: &Worker, wall: Duration) -> Option<RuntimeWorker> {
    let packets = now.packets.checked_sub(before.packets)?;
    let bursts = now.bursts.checked_sub(before.bursts)?;
    let busy = now.busy_cycles.checked_sub(before.busy_cycles)? as f64;
    let idle = now.idle_cycles.checked_sub(before.idle_cycles)? as f64;
    let sleeps = now.sleeps.checked_sub(before.sleeps)?;
    let sleep_ns = now.sleep_ns.checked_sub(before.sleep_ns)?;
    let empty_polls = now.empty_polls.checked_sub(before.empty_polls)?;
    // The agent's own clock knows when it took the readings; ours includes the way there and back.
    let cycles = now.now_cycles.saturating_sub(before.now_cycles);
    let seconds = if now.cycles_hz > 0 && cycles > 0 {
        cycles as f64 / now.cycles_hz as f64
    } else {
        wall.as_secs_f64().max(1e-9)
    };
    let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    Some(RuntimeWorker {
        id: now.id,
        core: workers::pinned(now),
        state: now.state.clone(),
        packets,
        packets_per_second: packets as f64 / seconds,
        mean_burst: ratio(packets as f64, bursts as f64),
        busy_ratio: ratio(busy, busy + idle),
        cycles_per_packet: ratio(busy, packets as f64),
        sleeps_per_second: sleeps as f64 / seconds,
        asleep_ratio: (sleep_ns as f64 / 1e9 / seconds).min(1.0),
        empty_polls_per_second: empty_polls as f64 / seconds,
        observed_generation: now.observed_generation,
    })
}

fn grid(view: &RuntimeView) -> Grid {
    let mut grid = Grid::new(&[
        ">worker",
        ">core",
        "state",
        ">packets/s",
        ">packets/burst",
        ">busy %",
        ">cycles/packet",
        ">sleeps/s",
        ">asleep %",
        ">empty polls/s",
        ">generation",
    ]);
    for worker in &view.workers {
        grid.row([
            worker.id.to_string(),
            workers::core(worker.core),
            worker.state.clone(),
            format!("{:.0}", worker.packets_per_second),
            figure(worker.mean_burst, 1),
            figure(worker.busy_ratio.map(|ratio| ratio * 100.0), 1),
            figure(worker.cycles_per_packet, 0),
            format!("{:.0}", worker.sleeps_per_second),
            format!("{:.1}", worker.asleep_ratio * 100.0),
            format!("{:.0}", worker.empty_polls_per_second),
            worker.observed_generation.to_string(),
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(packets: u64, bursts: u64, busy: u64, idle: u64, now: u64) -> Worker {
        Worker {
            id: 1,
            core: -1,
            packets,
            bursts,
            busy_cycles: busy,
            idle_cycles: idle,
            cycles_hz: 1_000,
            now_cycles: now,
            sleep_ns: now * 500_000,
            sleeps: now / 10,
            ..Worker::default()
        }
    }

    #[test]
    fn rates_are_differences() {
        let before = reading(100, 10, 1_000, 1_000, 0);
        let now = reading(500, 110, 1_800, 3_200, 2_000);
        let view = difference(&before, &now, Duration::from_secs(9)).expect("same boot");
        assert_eq!(view.packets, 400);
        assert_eq!(view.packets_per_second, 200.0);
        assert_eq!(view.mean_burst, Some(4.0));
        assert_eq!(view.cycles_per_packet, Some(2.0));
        assert_eq!(view.busy_ratio, Some(800.0 / 3_000.0));
        assert_eq!(view.sleeps_per_second, 100.0);
        assert_eq!(view.asleep_ratio, 0.5);
        assert_eq!(view.core, None);
    }

    #[test]
    fn a_quiet_worker_has_no_burst_size() {
        let same = reading(5, 5, 5, 5, 5);
        let view = difference(&same, &same, Duration::from_secs(1)).expect("same boot");
        assert_eq!(view.packets_per_second, 0.0);
        assert_eq!((view.mean_burst, view.cycles_per_packet), (None, None));
        let text = grid(&RuntimeView {
            interval_s: 1.0,
            workers: vec![view],
        })
        .to_string();
        assert!(text.contains("packets/burst"), "{text}");
        assert!(text.contains(" any "), "{text}");
    }

    #[test]
    fn a_restart_is_not_a_negative_rate() {
        let before = reading(100, 10, 10, 10, 10);
        let now = reading(5, 1, 1, 1, 20);
        assert_eq!(difference(&before, &now, Duration::from_secs(1)), None);
    }
}
