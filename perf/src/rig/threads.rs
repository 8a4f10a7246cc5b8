//! CPU time of a process, by each thread's own clock: `/proc/<pid>/task/<tid>/schedstat`. Ticks miss what sleeps and wakes often.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;

/// The clocks of all threads of a process at one moment.
#[derive(Debug, Clone)]
pub struct CpuClock {
    at: Instant,
    threads: BTreeMap<u32, (String, u64)>,
}

impl CpuClock {
    /// Reads them.
    ///
    /// # Errors
    /// When the process is gone, or the kernel keeps no such clocks (CONFIG_SCHED_INFO).
    pub fn read(process: u32) -> anyhow::Result<CpuClock> {
        let folder = format!("/proc/{process}/task");
        let mut threads = BTreeMap::new();
        let at = Instant::now();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{folder} is gone"))? {
            let entry = entry?;
            let path = entry.path();
            let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else {
                continue; // it ended just now
            };
            let busy = text.split_whitespace().next().and_then(|n| n.parse().ok());
            let busy =
                busy.context("schedstat has no run time: a kernel without CONFIG_SCHED_INFO")?;
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let thread = entry.file_name().to_string_lossy().parse().unwrap_or(0);
            threads.insert(thread, (name.trim().to_owned(), busy));
        }
        Ok(CpuClock { at, threads })
    }

    /// Per cent of one core that all threads used since `before`, and by name of the thread.
    pub fn percent_since(&self, before: &CpuClock) -> (f64, BTreeMap<String, f64>) {
        let wall = self.at.duration_since(before.at).as_nanos().max(1) as f64;
        let mut names = BTreeMap::new();
        for (thread, (name, busy)) in &self.threads {
            let earlier = before.threads.get(thread).map_or(0, |(_, busy)| *busy);
            *names.entry(name.clone()).or_insert(0.0) +=
                busy.saturating_sub(earlier) as f64 / wall * 100.0;
        }
        (names.values().sum(), names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen() {
        let before = CpuClock::read(std::process::id()).expect("read");
        while before.at.elapsed().as_millis() < 60 {
            std::hint::spin_loop();
        }
        let after = CpuClock::read(std::process::id()).expect("read");
        let (sum, names) = after.percent_since(&before);
        assert!(sum > 5.0 && !names.is_empty(), "{sum} {names:?}");
    }
}
