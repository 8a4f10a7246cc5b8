//! CPU time of every process on the path, each by itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cost::{Part, Side};
use super::measure::PerAnswer;

/// A process, and what it used per answer. Control planes and the kernel's threads of one end count as one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Process {
    /// What it is.
    pub part: Part,
    /// Where it is.
    pub side: Side,
    /// What it used.
    #[serde(flatten)]
    pub used: PerAnswer,
}

impl Process {
    /// All that there can be, as a call meets them, with their names.
    pub const ALL: [(&'static str, Part, Side); 9] = [
        ("client", Part::Client, Side::Near),
        ("edge", Part::Proxy, Side::Near),
        ("gateway", Part::Gateway, Side::Near),
        ("gateway", Part::Gateway, Side::Far),
        ("edge", Part::Proxy, Side::Far),
        ("server", Part::Server, Side::Far),
        ("control", Part::Control, Side::Near),
        ("control", Part::Control, Side::Far),
        ("softirq", Part::Softirq, Side::Near),
    ];

    /// The mean of each over several rounds.
    pub fn means(rounds: &[&[Self]]) -> Vec<Self> {
        let mut sums: BTreeMap<(Part, Side), PerAnswer> = BTreeMap::new();
        for process in rounds.iter().copied().flatten() {
            let sum = sums.entry((process.part, process.side)).or_default();
            sum.cpu_us += process.used.cpu_us;
            sum.kernel_us += process.used.kernel_us;
            sum.wake_ups += process.used.wake_ups;
        }
        let count = rounds.len().max(1) as f64;
        let mean = |((part, side), sum): ((Part, Side), PerAnswer)| Self {
            part,
            side,
            used: PerAnswer {
                cpu_us: sum.cpu_us / count,
                kernel_us: sum.kernel_us / count,
                wake_ups: sum.wake_ups / count,
            },
        };
        sums.into_iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_one_process_over_rounds() {
        let gateway = |side, cpu_us| Process {
            part: Part::Gateway,
            side,
            used: PerAnswer {
                cpu_us,
                kernel_us: cpu_us / 2.0,
                wake_ups: 1.0,
            },
        };
        let rounds = [
            [gateway(Side::Near, 4.0), gateway(Side::Far, 10.0)],
            [gateway(Side::Near, 8.0), gateway(Side::Far, 20.0)],
        ];
        let means = Process::means(&[&rounds[0], &rounds[1]]);
        assert_eq!(means, [gateway(Side::Near, 6.0), gateway(Side::Far, 15.0)]);
        assert!(Process::means(&[]).is_empty());
    }
}
