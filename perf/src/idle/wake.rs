//! What the machine itself takes to wake a thread on the worker's core: one that reads a pipe and does nothing else, written from the
//! generator's core as often as packets come at the lowest rate.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use hdrhistogram::Histogram;

use super::LatencyUs;
use crate::rig::{WORKER_CORE, pin};

/// Between two wake-ups.
const EVERY: Duration = Duration::from_millis(1);
/// Until the first: the thread is to sleep then.
const BEFORE: Duration = Duration::from_millis(20);

/// From writing until it was read.
///
/// # Errors
/// When there is no pipe, or the core cannot be used.
pub fn measure(time: Duration) -> anyhow::Result<LatencyUs> {
    let (mut reader, mut writer) = std::io::pipe()?;
    let start = Instant::now();
    let since = move || start.elapsed().as_nanos() as u64;
    let sleeper = std::thread::spawn(move || -> anyhow::Result<LatencyUs> {
        pin(WORKER_CORE)?;
        let mut latency = Histogram::new_with_bounds(1, 10_000_000_000, 3)?;
        let mut written = [0; 8];
        // Until the other end is closed.
        while reader.read_exact(&mut written).is_ok() {
            latency.saturating_record(since().saturating_sub(u64::from_ne_bytes(written)));
        }
        Ok(LatencyUs::of(&latency))
    });
    let mut due = BEFORE;
    while due < BEFORE + time {
        while start.elapsed() < due {
            std::hint::spin_loop();
        }
        if writer.write_all(&since().to_ne_bytes()).is_err() {
            break; // the reader says why it is gone
        }
        // What a stall of the machine made late is left out: who is awake then is not woken.
        due = (due + EVERY).max(start.elapsed());
    }
    drop(writer);
    sleeper
        .join()
        .map_err(|_| anyhow!("the thread that was to be woken has panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wake_up_takes_a_while() {
        let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
        if !allowed.is_ok_and(|cores| cores.is_set(WORKER_CORE).unwrap_or(false)) {
            eprintln!("skipped: core {WORKER_CORE} is not allowed");
            return;
        }
        let woken = measure(Duration::from_millis(50)).expect("measured");
        assert!(0.0 < woken.p50 && woken.p50 <= woken.p99 && woken.p99 <= woken.max);
    }
}
