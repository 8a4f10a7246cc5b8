//! `show workers`: sums since the start; `show runtime` shows rates.

use dmsc_proto::v1::{ListWorkersRequest, Worker};
use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::{Grid, Output};

/// JSON of `show workers`.
#[derive(Debug, Serialize)]
pub struct WorkersView {
    workers: Vec<WorkerView>,
}

/// One worker in JSON.
#[derive(Debug, Serialize)]
struct WorkerView {
    id: u32,
    /// `null`: not pinned to a core.
    core: Option<i32>,
    state: String,
    packets: u64,
    bursts: u64,
    empty_polls: u64,
    sleeps: u64,
    sleep_ns: u64,
    busy_cycles: u64,
    idle_cycles: u64,
    cycles_hz: u64,
    observed_generation: u64,
}

/// Where a worker runs, for tables.
pub(super) fn core(core: Option<i32>) -> String {
    core.map_or_else(|| "any".to_owned(), |core| core.to_string())
}

/// The core, if the worker is pinned to one.
pub(super) fn pinned(worker: &Worker) -> Option<i32> {
    (worker.core >= 0).then_some(worker.core)
}

/// Asks and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let reply = agent.client.list_workers(ListWorkersRequest {}).await?;
    let mut workers = reply.into_inner().workers;
    workers.sort_by_key(|worker| worker.id);
    let view = WorkersView {
        workers: workers
            .into_iter()
            .map(|worker| WorkerView {
                core: pinned(&worker),
                id: worker.id,
                state: worker.state,
                packets: worker.packets,
                bursts: worker.bursts,
                empty_polls: worker.empty_polls,
                sleeps: worker.sleeps,
                sleep_ns: worker.sleep_ns,
                busy_cycles: worker.busy_cycles,
                idle_cycles: worker.idle_cycles,
                cycles_hz: worker.cycles_hz,
                observed_generation: worker.observed_generation,
            })
            .collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "this dataplane has no workers")?;
    }
    Ok(())
}

fn grid(view: &WorkersView) -> Grid {
    let mut grid = Grid::new(&[
        ">worker",
        ">core",
        "state",
        ">generation",
        ">packets",
        ">bursts",
        ">empty polls",
        ">sleeps",
        ">asleep s",
        ">busy Mcycles",
        ">idle Mcycles",
    ]);
    for worker in &view.workers {
        grid.row([
            worker.id.to_string(),
            core(worker.core),
            worker.state.clone(),
            worker.observed_generation.to_string(),
            worker.packets.to_string(),
            worker.bursts.to_string(),
            worker.empty_polls.to_string(),
            worker.sleeps.to_string(),
            format!("{:.1}", worker.sleep_ns as f64 / 1e9),
            (worker.busy_cycles / 1_000_000).to_string(),
            (worker.idle_cycles / 1_000_000).to_string(),
        ]);
    }
    grid
}
