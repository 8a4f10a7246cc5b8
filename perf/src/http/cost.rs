//! CPU time by process: who used how much between two moments.
//!
//! Of a process the scheduler's own sum in ns (CLOCK of the process: all threads, ended ones too), divided into program and kernel as `/proc/<pid>/stat`
//! has it. Softirqs run in the time of whoever they interrupt or, on sending over veth, of the sender, and are in these sums; what is
//! left to ksoftirqd is a part of its own. Both cores' busy time (`/proc/stat`, wall time without idle) is kept beside, and what is in it
//! but in none of the processes is called foreign: a disturbed run shows there.

use std::collections::BTreeMap;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;

/// What a process is on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The load generator; with the library in it.
    Client,
    /// The server; with the library in it.
    Server,
    /// Envoy, haproxy or the edge.
    Proxy,
    /// Dataplanes of gateways.
    Gateway,
    /// Control planes.
    Control,
    /// Kernel threads that run softirqs which were left to them.
    Softirq,
}

/// At which end of the path something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The client's node.
    Near,
    /// The server's node.
    Far,
}

/// A process on the path.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// What it is.
    pub part: Part,
    /// Where it is.
    pub side: Side,
    /// Its process id.
    pub process: u32,
}

/// CPU time and context switches.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// All, ns.
    pub cpu_ns: u64,
    /// Of it in the kernel, ns.
    pub kernel_ns: u64,
    /// Times that a thread went to sleep, and was woken.
    pub sleeps: u64,
}

impl Usage {
    fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            kernel_ns: self.kernel_ns.saturating_sub(before.kernel_ns),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
        }
    }

    fn add(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.kernel_ns += other.kernel_ns;
        self.sleeps += other.sleeps;
    }
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    at_ns: u64,
    idle_ns: u64,
    cores: u64,
    usage: Vec<(Part, Side, Usage)>,
}

impl Snapshot {
    /// Reads the clocks of `members` and the idle time of `cores`.
    pub fn take(members: &[Member], cores: &[usize]) -> Self {
        Self {
            at_ns: dmsc_lab::wait::monotonic_ns(),
            idle_ns: std::fs::read_to_string("/proc/stat")
                .map(|text| idle_ticks(&text, cores) * tick_ns())
                .unwrap_or(0),
            cores: cores.len() as u64,
            usage: members
                .iter()
                .map(|member| (member.part, member.side, usage(member.process)))
                .collect(),
        }
    }

    /// What was used from `before` until now.
    pub fn since(&self, before: &Self) -> Cost {
        let mut ends: BTreeMap<(Part, Side), Usage> = BTreeMap::new();
        for ((part, side, now), (.., then)) in self.usage.iter().zip(&before.usage) {
            let end = ends.entry((*part, *side)).or_default();
            end.add(now.since(*then));
        }
        let wall_ns = self.at_ns - before.at_ns;
        Cost {
            busy_ns: (wall_ns * self.cores)
                .saturating_sub(self.idle_ns.saturating_sub(before.idle_ns)),
            ends,
        }
    }
}

/// What was used between two moments.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Time in which cores were not idle, ns, whoever used it.
    pub busy_ns: u64,
    /// By part and end, which are one process each, but for what the kernel runs.
    pub ends: BTreeMap<(Part, Side), Usage>,
}

impl Cost {
    /// Of all processes on the path, ns.
    pub fn cpu_ns(&self) -> u64 {
        self.ends.values().map(|usage| usage.cpu_ns).sum()
    }

    /// By part, both ends together.
    pub fn parts(&self) -> BTreeMap<Part, Usage> {
        let mut parts: BTreeMap<Part, Usage> = BTreeMap::new();
        for ((part, _), usage) in &self.ends {
            parts.entry(*part).or_default().add(*usage);
        }
        parts
    }

    /// Share of the busy time that nobody on the path used.
    pub fn foreign(&self) -> f64 {
        let foreign = self.busy_ns.saturating_sub(self.cpu_ns());
        foreign as f64 / self.busy_ns.max(1) as f64
    }
}

fn tick_ns() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Idle time of `cores` in ticks, as `/proc/stat` has it: idle, waiting for a disk, and taken by the hypervisor.
fn idle_ticks(text: &str, cores: &[usize]) -> u64 {
    let of = |line: &str| -> u64 {
        let fields: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        [3, 4, 7].iter().filter_map(|n| fields.get(*n)).sum()
    };
    text.lines()
        .filter(|line| cores.iter().any(|n| line.starts_with(&format!("cpu{n} "))))
        .map(of)
        .sum()
}

/// What a process used so far; nothing if it is gone.
fn usage(process: u32) -> Usage {
    let clock = i32::try_from(process)
        .ok()
        .and_then(|id| clock_getcpuclockid(Pid::from_raw(id)).ok())
        .and_then(|clock: ClockId| clock_gettime(clock).ok());
    let cpu_ns = clock.map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000
            + u64::try_from(time.tv_nsec()).unwrap_or(0)
    });
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let sleeps = std::fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .map(|status| voluntary_switches(&status))
        .sum();
    Usage {
        cpu_ns,
        kernel_ns: kernel_ticks(&stat) * tick_ns(),
        sleeps,
    }
}

/// Field `stime` of `/proc/<pid>/stat`; the name of the program before it may have blanks and brackets.
fn kernel_ticks(stat: &str) -> u64 {
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(12))
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

fn voluntary_switches(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|field| field.trim().parse().ok())
        .unwrap_or(0)
}

/// The kernel threads that run softirqs.
pub fn softirq_threads() -> Vec<Member> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| {
            std::fs::read_to_string(format!("/proc/{process}/comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
        })
        .map(|process| Member {
            part: Part::Softirq,
            side: Side::Near,
            process,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 0 2 100 10 0 3 5 0 0\ncpu1 1 0 2 200 0 0 0 0 0 0\ncpu10 0 0 0 7 0 0 0 0 0 0\n";
        assert_eq!(idle_ticks(text, &[0]), 115);
        assert_eq!(idle_ticks(text, &[0, 1]), 315);
        let stat = "12 (a b) c) S 1 1 1 0 -1 4194560 1 0 0 0 31 17 0 0 20 0 1";
        assert_eq!(kernel_ticks(stat), 17);
        assert_eq!(
            voluntary_switches(
                "x:\t1\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n"
            ),
            42
        );
    }

    #[test]
    fn work_of_this_process_is_counted_and_sums_up() {
        let member = Member {
            part: Part::Client,
            side: Side::Near,
            process: std::process::id(),
        };
        let before = Snapshot::take(&[member, member], &[0]);
        let mut sum = 0_u64;
        // From the later of both readings: other tests of this process work between them.
        while usage(member.process).cpu_ns < before.usage[1].2.cpu_ns + 5_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        let cost = Snapshot::take(&[member, member], &[0]).since(&before);
        assert!(cost.cpu_ns() >= 10_000_000, "{cost:?}");
        assert_eq!(cost.parts().len(), 1);
    }

    #[test]
    fn what_nobody_on_the_path_used_is_foreign() {
        let used = |cpu_ns| Usage {
            cpu_ns,
            ..Usage::default()
        };
        let mut cost = Cost {
            busy_ns: 100,
            ends: BTreeMap::new(),
        };
        assert!((cost.foreign() - 1.0).abs() < 1e-9);
        cost.ends.insert((Part::Client, Side::Near), used(30));
        cost.ends.insert((Part::Gateway, Side::Far), used(45));
        assert!((cost.foreign() - 0.25).abs() < 1e-9);
        // Clocks are finer than ticks: together they may show more than was busy.
        cost.ends.insert((Part::Server, Side::Far), used(40));
        assert!(cost.foreign().abs() < 1e-9);
        assert!(Cost::default().foreign().abs() < 1e-9);
    }

    #[test]
    fn a_process_that_is_gone_used_nothing() {
        assert_eq!(usage(u32::MAX).cpu_ns, 0);
    }
}
