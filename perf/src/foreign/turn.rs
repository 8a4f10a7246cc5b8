//! What came of one turn of a sender.

use serde::Serialize;

use crate::record::spread;
use crate::transit::Work;

/// One turn of a sender, or the medians of several, figure by figure.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turn {
    /// Millions of packets per second that came out, by the sender's own counters.
    pub mpps: f64,
    /// What the router would forward if it had work all the time: what came out over the time in which it had, Mpps.
    pub capacity_mpps: Option<f64>,
    /// Millions per second that came in, by the router's counters, which the sender does not know.
    pub router_received_mpps: f64,
    /// Packets per burst that the router received.
    pub mean_burst: Option<f64>,
    /// Share of the router's time in which it had something to do.
    pub router_busy: Option<f64>,
}

impl Turn {
    /// Of packets per second that came out for so many seconds, and what the router's worker did from `before` to `after`.
    pub fn new(rate: f64, seconds: f64, before: &Work, after: &Work) -> Turn {
        let packets = after.packets.saturating_sub(before.packets);
        let cycles = after.busy_cycles.saturating_sub(before.busy_cycles);
        let busy = cycles as f64 / dmsc_dpdk::tsc_hz() as f64;
        Turn {
            mpps: rate / 1e6,
            capacity_mpps: (busy > 0.0).then(|| rate * seconds / busy / 1e6),
            router_received_mpps: packets as f64 / seconds / 1e6,
            mean_burst: after.mean_burst(before),
            // A generator whose core was somebody else's for a while does not count that time; the router had work meanwhile.
            router_busy: (seconds > 0.0).then(|| (busy / seconds).min(1.0)),
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
            capacity_mpps: of(&|turn| turn.capacity_mpps),
            router_received_mpps: of(&|turn| Some(turn.router_received_mpps)).unwrap_or_default(),
            mean_burst: of(&|turn| turn.mean_burst),
            router_busy: of(&|turn| turn.router_busy),
        }
    }

    /// What came out, Mpps.
    pub fn rate(&self) -> Option<f64> {
        Some(self.mpps)
    }

    /// What would come out if the router had work all the time, Mpps.
    pub fn capacity(&self) -> Option<f64> {
        self.capacity_mpps
    }
}
