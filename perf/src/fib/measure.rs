//! Rounds: every table in every round, one after the other, on one CPU.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use super::columns::{BURST, Column};

/// Bursts between two looks at the clock, which is a system call.
const BURSTS: usize = 256;

/// What one table did in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// The table.
    pub table: &'static str,
    /// Names looked up.
    pub lookups: u64,
    /// Of them found.
    pub found: u64,
    /// CPU time of this thread, ns. Others that wanted the CPU do not count.
    pub cpu_ns: u64,
    /// Lookups per second of CPU.
    pub lookups_per_s: f64,
}

impl Sample {
    /// Of `lookups` that took `time` of CPU.
    pub fn new(table: &'static str, lookups: u64, found: u64, time: Duration) -> Self {
        let cpu_ns = time.as_nanos() as u64;
        Self {
            table,
            lookups,
            found,
            cpu_ns,
            lookups_per_s: lookups as f64 * 1e9 / cpu_ns.max(1) as f64,
        }
    }

    /// Share of the names that was found.
    pub fn found_share(&self) -> f64 {
        self.found as f64 / self.lookups.max(1) as f64
    }
}

/// CPU time of this thread.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What `work` gives, and the CPU time of this thread that it took, s.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = cpu_time();
    let done = work();
    (done, cpu_time().saturating_sub(start).as_secs_f64())
}

/// Keeps this thread on the last CPU that it may use: the first has the most interrupts. Returns which.
pub fn pin() -> Option<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let cpu = (0..CpuSet::count())
        .rev()
        .find(|&cpu| allowed.is_set(cpu).unwrap_or(false))?;
    let mut one = CpuSet::new();
    one.set(cpu).ok()?;
    sched_setaffinity(Pid::from_raw(0), &one).ok()?;
    Some(cpu)
}

/// Lets a table look names up for `time` of CPU.
pub fn sample(column: &mut dyn Column, time: Duration) -> Sample {
    // What the table before left in the caches is not this one's.
    run(column, time / 10);
    run(column, time)
}

fn run(column: &mut dyn Column, time: Duration) -> Sample {
    let start = cpu_time();
    let (mut bursts, mut found) = (0u64, 0u64);
    loop {
        for _ in 0..BURSTS {
            found += column.burst() as u64;
        }
        bursts += BURSTS as u64;
        let passed = cpu_time().saturating_sub(start);
        if passed >= time {
            return Sample::new(column.word(), bursts * BURST as u64, found, passed);
        }
    }
}
