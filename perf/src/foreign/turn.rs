//! What came of one turn of a sender.

use serde::Serialize;

use crate::record::spread;
use crate::transit::Work;

/// One turn of a sender, or the medians of several.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turn {
    /// Millions of packets per second that came out, by the sender's own counters.
    pub mpps: f64,
    /// Millions per second that came in, by the router's counters, which the sender does not know.
    pub router_mpps: f64,
    /// Packets per burst that the router received.
    pub mean_burst: Option<f64>,
    /// Share of the router's time in which it had something to do.
    pub router_busy: Option<f64>,
}

impl Turn {
    /// Of what the sender counted, and what the router's worker did from `before` to `after`, during `cycles`.
    pub fn new(mpps: f64, before: &Work, after: &Work, cycles: f64) -> Turn {
        let packets = after.packets.saturating_sub(before.packets);
        let busy = after.busy_cycles.saturating_sub(before.busy_cycles);
        Turn {
            mpps,
            router_mpps: packets as f64 / (cycles / dmsc_dpdk::tsc_hz() as f64) / 1e6,
            mean_burst: after.mean_burst(before),
            router_busy: (cycles > 0.0).then(|| (busy as f64 / cycles).min(1.0)),
        }
    }

    /// Figure by figure.
    pub fn median(turns: &[Turn]) -> Turn {
        let of = |figure: &dyn Fn(&Turn) -> Option<f64>| {
            let values: Vec<f64> = turns.iter().filter_map(figure).collect();
            spread(&values).map(|spread| spread.median)
        };
        Turn {
            mpps: of(&|turn| Some(turn.mpps)).unwrap_or_default(),
            router_mpps: of(&|turn| Some(turn.router_mpps)).unwrap_or_default(),
            mean_burst: of(&|turn| turn.mean_burst),
            router_busy: of(&|turn| turn.router_busy),
        }
    }

    /// What came out, Mpps.
    pub fn rate(&self) -> Option<f64> {
        Some(self.mpps)
    }

    /// What the router would forward if it had work all the time, as it is reckoned from the share of time in which it had, Mpps.
    pub fn capacity(&self) -> Option<f64> {
        self.router_busy
            .filter(|busy| *busy > 0.0)
            .map(|busy| self.mpps / busy)
    }
}
