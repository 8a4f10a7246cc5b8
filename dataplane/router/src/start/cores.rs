//! Which threads run on which cores.

use anyhow::bail;
use core_affinity::get_core_ids;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::memory::disinherit;
use super::placement::Placement;
use crate::config::Config;
use crate::shared::Shared;

/// A core that is not there would only be found out by its worker, which then runs anywhere.
pub(super) fn check_cores(config: &Config) -> anyhow::Result<()> {
    let Some(there) = get_core_ids() else {
        return Ok(()); // the system does not say
    };
    let Some(missing) = config
        .cores
        .iter()
        .find(|core| there.iter().all(|c| c.id != **core))
    else {
        return Ok(());
    };
    let there: Vec<_> = there.iter().map(|c| c.id.to_string()).collect();
    bail!(
        "{}:{}: workers.cores: core {missing} is not there, or this process may not run on it (taskset -p, cpuset); there are {}",
        config.path.display(),
        config.cores_line,
        there.join(", ")
    )
}

/// Puts the calling worker on its core, or among those that are near the ports, and what it makes itself with it.
pub(super) fn settle(shared: &Shared, placement: &Placement, worker: usize) {
    let core = shared.workers[worker].core;
    let cores = core
        .as_ref()
        .map_or(&placement.floating[..], std::slice::from_ref);
    if !cores.is_empty()
        && let Err(error) = run_on(cores)
    {
        tracing::error!(
            ?cores, %error,
            "the worker could not be pinned: are these cores allowed for the process (taskset -p)?"
        );
    }
    disinherit(&placement.tables);
}

/// Has the calling thread run on these cores only.
fn run_on(cores: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Has the calling thread run on the control cores, and on `more`, and with it whatever it starts: EAL's own threads, too, get those cores of
/// the thread that starts EAL that are not EAL's main core, which must be among them. Does nothing where no core is apart from the workers'.
pub(super) fn confine(control: &[usize], more: &[usize]) {
    if !control.is_empty() {
        warn_unless_on(&[control, more].concat());
    }
}

/// Has the calling thread run on the first control core, if there are any.
pub(super) fn stay_off(control: &[usize]) {
    if let Some(first) = control.first() {
        warn_unless_on(&[*first]);
    }
}

fn warn_unless_on(cores: &[usize]) {
    if let Err(error) = run_on(cores) {
        tracing::warn!(?cores, %error, "a thread that is no worker could not be put there, and may take time from one");
    }
}

/// Niceness of the threads that bring transactions to the workers.
const FIRST: i32 = -10;

/// Has the calling thread woken before others of its core: a transaction of one route passes through two threads, and may wait for a whole
/// time slice of another process before each. Only beside workers that have cores of their own, which this takes nothing from.
pub(super) fn go_first(control: &[usize]) {
    if control.is_empty() {
        return;
    }
    // Linux: the calling thread, not its process.
    if let Err(error) = rustix::process::setpriority_process(None, FIRST) {
        tracing::info!(%error, "agent and publisher run at ordinary priority: CAP_SYS_NICE would let transactions be visible sooner");
    }
}
