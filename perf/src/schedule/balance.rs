//! What callers do by themselves: the better of two random members by a moving peak of the latencies that they saw (P2C, Peak-EWMA).

use super::services::{Services, WayId};
use crate::prng::Prng;

/// Decay of what was seen, s: the default of Finagle and Linkerd.
const DECAY_S: f64 = 10.0;
/// A lost call shows as one of this length, µs.
pub const TIMEOUT_US: f64 = 1_000_000.0;

#[derive(Debug, Clone, Copy)]
struct Peak {
    us: f64,
    at_s: f64,
}

/// One caller.
#[derive(Debug, Clone)]
pub struct Balancer {
    /// Places among the caller's choices: one way, by metric, per member.
    members: Vec<usize>,
    seen: Vec<Peak>,
}

impl Balancer {
    /// Among all members; or, as somebody would configure who knows the network, among those only that keep to the target when all is quiet.
    /// Latencies are known from before.
    pub fn new(services: &Services, caller: usize, within_target: bool) -> Balancer {
        let of = &services.callers[caller];
        let quiet = |choice: usize| services.ways[of.choices[choice].0].propagation_us;
        let target = services.target_us(caller);
        let all = (0..of.choices.len()).step_by(2);
        let members: Vec<usize> = all
            .filter(|&choice| !within_target || quiet(choice) < target)
            .collect();
        let seen = members.iter().map(|&choice| Peak {
            us: quiet(choice),
            at_s: 0.0,
        });
        Balancer {
            seen: seen.collect(),
            members,
        }
    }

    /// Of two members the better: its place here, and its way.
    pub fn pick(
        &self,
        services: &Services,
        caller: usize,
        now_s: f64,
        random: &mut Prng,
    ) -> (usize, WayId) {
        let many = self.members.len();
        let first = random.below(many);
        let second = (first + 1 + random.below(many.max(2) - 1)) % many;
        let cost = |at: usize| {
            let seen = &self.seen[at];
            seen.us * (-(now_s - seen.at_s) / DECAY_S).exp()
        };
        let best = if cost(second) < cost(first) {
            second
        } else {
            first
        };
        (best, services.callers[caller].choices[self.members[best]])
    }

    /// A call to the member at this place took so long. It is known at once, which favours callers.
    pub fn saw(&mut self, at: usize, now_s: f64, us: f64) {
        let seen = &mut self.seen[at];
        let keep = (-(now_s - seen.at_s) / DECAY_S).exp();
        seen.us = if us > seen.us * keep {
            us
        } else {
            seen.us * keep + us * (1.0 - keep)
        };
        seen.at_s = now_s;
    }

    /// Where calls go when all is quiet, over the caller's choices: to the i-th best of k where it is drawn with one of the k − i behind it.
    pub fn quiet_shares(&self, services: &Services, caller: usize) -> Vec<f64> {
        let of = &services.callers[caller];
        let mut shares = vec![0.0; of.choices.len()];
        let quiet = |choice: usize| services.ways[of.choices[choice].0].propagation_us;
        let mut order = self.members.clone();
        order.sort_by(|&a, &b| quiet(a).total_cmp(&quiet(b)));
        let many = order.len() as f64;
        for (rank, choice) in order.iter().enumerate() {
            let behind = many - 1.0 - rank as f64;
            shares[*choice] = match order.len() {
                1 => 1.0,
                _ => 2.0 * behind / (many * (many - 1.0)),
            };
        }
        shares
    }

    /// Place among the caller's choices of the member at a place here.
    pub fn choice(&self, at: usize) -> usize {
        self.members[at]
    }
}
