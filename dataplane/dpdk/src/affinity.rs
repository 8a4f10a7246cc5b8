//! Which CPUs this thread may run on, saved around EAL's start, which pins the calling thread.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs of the calling thread, put back when dropped.
pub(crate) struct Saved(CpuSet);

impl Saved {
    pub(crate) fn save() -> nix::Result<Self> {
        sched_getaffinity(Pid::from_raw(0)).map(Self)
    }

    /// The lowest CPU that this thread may run on.
    pub(crate) fn first(&self) -> usize {
        (0..CpuSet::count())
            .find(|&cpu| self.allows(cpu))
            .unwrap_or(0)
    }

    pub(crate) fn allows(&self, cpu: usize) -> bool {
        self.0.is_set(cpu).unwrap_or(false)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        // Fails only if the CPUs were taken away meanwhile, and then the kernel has chosen others.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}
