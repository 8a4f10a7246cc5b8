//! Where a measurement stands: a network namespace of its own, and two cores.

use anyhow::bail;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, geteuid};

use crate::torture::net;

/// The first two cores that this process may use.
#[derive(Debug, Clone, Copy)]
pub struct Ground {
    /// Of generators, callers and servers.
    pub own_core: usize,
    /// Of the worker that is measured.
    pub router_core: usize,
}

impl Ground {
    /// Enters a network namespace for `command`: to be called before there are other threads.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn enter(command: &str) -> anyhow::Result<Ground> {
        if !geteuid().is_root() {
            bail!(
                "{command} makes network namespaces and interfaces and needs root: run it with sudo"
            );
        }
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        let (Some(own_core), Some(router_core)) = (cores.next(), cores.next()) else {
            bail!(
                "{command} needs two cores, one for the router's worker and one for everything else: see `taskset -p $$`"
            );
        };
        net::enter_namespace()?;
        Ok(Ground {
            own_core,
            router_core,
        })
    }
}
