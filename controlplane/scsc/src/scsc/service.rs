//! How a member says it is: its own gateway tells it, once for all that call it, and that counts more than what probes of callers bring.

use std::time::Duration;

use dmsc_wire::NodeId;

use super::row::{Choice, Row};
use super::{GroupId, Scsc};
use crate::alarm::{Alarm, Change, Verdict};
use crate::report::Health;
use crate::rules::Rules;
use crate::service::ServiceState;
use crate::threshold::Figures;
use crate::timing::Timing;

/// What was told of a member.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When last.
    at: Option<Duration>,
    pub health: Health,
    /// Raised while the member is to be avoided: by the first word of it, and cleared as every other alarm.
    alarm: Alarm,
}

impl Told {
    /// Whether something was told, and it still holds.
    pub fn is_fresh(&self, now: Duration, fresh: Duration) -> bool {
        self.at.is_some_and(|at| now.saturating_sub(at) <= fresh)
    }

    /// Whether something was told, and it does not hold any more: nothing is known then, good or bad.
    pub fn is_stale(&self, now: Duration, fresh: Duration) -> bool {
        self.at.is_some() && !self.is_fresh(now, fresh)
    }

    pub fn is_raised(&self) -> bool {
        self.alarm.is_raised()
    }

    /// A report came while nothing is known: what was told before passes as it would if all were well.
    pub fn pass(&mut self, now: Duration, timing: &Timing) {
        if self.is_raised() {
            self.alarm.observe(now, Verdict::Good, timing);
        }
    }

    fn hear(&mut self, now: Duration, health: Health, timing: &Timing) -> Option<Change> {
        (self.at, self.health) = (Some(now), health);
        let verdict = match health {
            Health::Healthy => Verdict::Good,
            Health::Draining | Health::Overloaded => Verdict::Bad,
        };
        // Who says so of itself need not say it twice.
        let at_once = Timing {
            raise_k: 1,
            raise_n: 1,
            ..*timing
        };
        self.alarm.observe(now, verdict, &at_once)
    }
}

impl Scsc {
    /// Takes what the gateway `member` tells of the service that lives with it; of one that no caller has among its choices it is ignored. What is not told
    /// again within [`super::ScscConfig::fresh`] counts as not known, neither good nor bad.
    pub fn service(&mut self, now: Duration, group: GroupId, member: NodeId, state: &ServiceState) {
        let at = group.0 as usize;
        let Some(known) = self.groups.get_mut(at) else {
            return;
        };
        for (gateway, row) in &mut known.rows {
            if row.serve(now, member, state, &known.rules) {
                self.active.insert((at, *gateway));
            }
        }
    }
}

impl Row {
    /// Whether a choice that carries something is to be avoided.
    fn serve(
        &mut self,
        now: Duration,
        member: NodeId,
        state: &ServiceState,
        rules: &Rules,
    ) -> bool {
        let mut avoid = false;
        let choices = self.choices.iter_mut().zip(&self.shares);
        for (choice, share) in choices.filter(|(choice, _)| choice.member == member) {
            let raised = choice.serve(now, state, rules);
            avoid |= raised && *share > 0;
        }
        avoid
    }
}

impl Choice {
    fn serve(&mut self, now: Duration, state: &ServiceState, rules: &Rules) -> bool {
        if state.instances == 0 {
            // Routes take it away; until then reports say how the way there is.
            self.told.at = None;
            self.load_permille = 0;
            return false;
        }
        let timing = &rules.timing;
        let (verdict, breach) = rules
            .thresholds
            .judge_load(&Figures::of_load(state.load_permille));
        self.load_permille = state.load_permille;
        self.load_breach = breach;
        self.draining = false;
        let of_load = self.load.observe(now, verdict, timing);
        self.told.hear(now, state.health, timing);
        self.told.is_raised() || of_load == Some(Change::Raised)
    }
}
