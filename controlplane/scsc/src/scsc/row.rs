//! One service group as the callers of one gateway have it: its choices, how they are, and what was said last.

use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_wire::NodeId;

use super::TOPOLOGIES;
use super::service::Told;
use crate::alarm::{Alarm, Change, Verdict};
use crate::decision::Why;
use crate::pair::{LinkKey, Pair};
use crate::plan::{Candidate, WHOLE};
use crate::policy::Share;
use crate::report::{Health, Report};
use crate::rules::Rules;
use crate::threshold::{Breach, Figures};
use crate::timing::Timing;

/// Weight of a new report in what is smoothed.
const NEW: f64 = 0.3;
/// The same where chance must not decide.
const SLOW: f64 = 1.0 / 64.0;

/// One member on one way.
#[derive(Debug)]
pub(super) struct Choice {
    pub member: NodeId,
    pub topology: Topology,
    way: Alarm,
    pub(super) load: Alarm,
    pub draining: bool,
    /// What the member's own gateway says; while that holds, reports say nothing of the member.
    pub(super) told: Told,
    delay_us: f64,
    /// Share of probes lost or beyond the delay threshold.
    misses: f64,
    misses_slow: f64,
    breach: Option<Breach>,
    pub(super) load_breach: Option<Breach>,
    available_kbps: u64,
    narrowest: LinkKey,
    pub(super) load_permille: u32,
    reported: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Row {
    /// By member, then topology.
    pub choices: Vec<Choice>,
    /// In force as far as this center said, of [`WHOLE`].
    pub shares: Vec<u16>,
    plain: Vec<u16>,
    pub rate_kbps: u64,
    /// When shares changed last.
    pub said: Duration,
    /// When the policy ends.
    pub until: Option<Duration>,
    /// Somebody else decides.
    pub held: bool,
    /// How often the less bad was taken, all being bad, and when last: the same waiting as for an alarm that is raised again.
    settles: u32,
    settled: Duration,
}

impl Row {
    pub fn new(members: &[NodeId], plain: &[NodeId]) -> Self {
        let mut members = members.to_vec();
        members.sort_unstable();
        members.dedup();
        let choices: Vec<Choice> = members
            .iter()
            .flat_map(|&member| TOPOLOGIES.map(|topology| Choice::new(member, topology)))
            .collect();
        let is_plain =
            |choice: &Choice| choice.topology == Topology::Metric && plain.contains(&choice.member);
        let many = choices.iter().filter(|choice| is_plain(choice)).count();
        let mut left = WHOLE;
        let mut parts = many;
        let mut shares = vec![0; choices.len()];
        for (share, choice) in shares.iter_mut().zip(&choices) {
            if is_plain(choice) {
                *share = left / u16::try_from(parts).unwrap_or(u16::MAX).max(1);
                left -= *share;
                parts -= 1;
            }
        }
        Self {
            choices,
            plain: shares.clone(),
            shares,
            rate_kbps: 0,
            said: Duration::ZERO,
            until: None,
            held: false,
            settles: 0,
            settled: Duration::ZERO,
        }
    }

    /// Goes on from what was known before members changed. What is in force holds for the members that are left: the others' part is theirs, as
    /// the gateway does it.
    pub fn inherit(&mut self, old: Self) {
        let is_plain = old.is_plain();
        let mut left = vec![0; self.choices.len()];
        for (was, share) in old.choices.into_iter().zip(old.shares) {
            let same = |one: &Choice| (one.member, one.topology) == (was.member, was.topology);
            if let Some(at) = self.choices.iter().position(same) {
                left[at] = share;
                self.choices[at] = was;
            }
        }
        self.rate_kbps = old.rate_kbps;
        self.said = old.said;
        self.held = old.held;
        (self.settles, self.settled) = (old.settles, old.settled);
        let sum: u32 = left.iter().map(|share| u32::from(*share)).sum();
        if !is_plain && sum > 0 {
            self.shares = whole(&left, sum);
            self.until = old.until;
        }
    }

    /// Takes shares that are in force already, if they are shares of these choices and nothing is missing.
    pub fn resume(&mut self, shares: &[Share], until: Duration) -> bool {
        let of = |choice: &Choice| {
            let own = |share: &&Share| {
                (share.gateway, share.topology) == (choice.member, choice.topology)
            };
            shares.iter().find(own).map_or(0, |share| share.weight)
        };
        let resumed: Vec<u16> = self.choices.iter().map(of).collect();
        if resumed.iter().map(|share| u32::from(*share)).sum::<u32>() != u32::from(WHOLE) {
            return false;
        }
        self.shares = resumed;
        self.until = Some(until);
        true
    }

    /// New shares are said at `now`.
    pub fn say(&mut self, now: Duration, shares: Vec<u16>, timing: &Timing) {
        let mut gains = self.choices.iter().zip(self.shares.iter().zip(&shares));
        if gains.any(|(choice, (from, to))| to > from && choice.way.is_raised()) {
            let quiet = now.saturating_sub(self.settled) >= timing.forget;
            self.settles = if quiet { 1 } else { self.settles + 1 };
            self.settled = now;
        }
        self.shares = shares;
        self.said = now;
    }

    pub fn observe(
        &mut self,
        choice: usize,
        now: Duration,
        report: &Report,
        figures: &Figures,
        rules: &Rules,
        fresh: Duration,
    ) -> Option<Change> {
        let Rules {
            thresholds, timing, ..
        } = rules;
        let choice = &mut self.choices[choice];
        let (way, breach) = thresholds.judge_way(figures);
        choice.breach = breach;
        if let Some(delay) = report.delay.quantile(500) {
            let delay = f64::from(delay);
            choice.delay_us = match choice.reported {
                None => delay,
                Some(_) => choice.delay_us + (delay - choice.delay_us) * NEW,
            };
        }
        let late = thresholds
            .delay_us
            .map_or(0, |level| report.delay.permille_from(level.raise));
        let lost = f64::from(report.loss_ppm().unwrap_or(0)) / 1e6;
        let missed = 1.0 - (1.0 - lost) * (1.0 - f64::from(late) / 1e3);
        choice.misses += (missed - choice.misses) * NEW;
        choice.misses_slow += (missed - choice.misses_slow) * SLOW;
        choice.available_kbps = report.available_kbps;
        choice.narrowest = report.narrowest;
        choice.reported = Some(now);
        let of_load = match choice.told.is_fresh(now, fresh) {
            true => None,
            false => choice.observe_member(now, report, figures, rules),
        };
        choice.way.observe(now, way, timing).or(of_load)
    }

    pub fn candidates(&self, now: Duration, fresh: Duration, rules: &Rules) -> Vec<Candidate> {
        let window = rules.timing.raise_n;
        let hold = rules.timing.hold_after(self.settles + 1);
        let settled_lately = self.settles > 0 && now.saturating_sub(self.settled) < hold;
        let shares = self.shares.iter().zip(&self.plain);
        let all = self.choices.iter().zip(shares);
        all.map(|(choice, (&now_share, &plain))| Candidate {
            member: choice.member,
            now: now_share,
            plain,
            by_delay: choice.topology == Topology::Delay,
            known: choice
                .reported
                .is_some_and(|at| now.saturating_sub(at) <= fresh),
            avoid: choice.way.is_raised()
                || choice.draining
                || choice.told.is_raised() && choice.told.is_fresh(now, fresh),
            clean: choice.way.bad_of_last(window) == 0 && choice.load.bad_of_last(window) == 0,
            delay_us: choice.delay_us as u32,
            misses: match self.settles {
                _ if settled_lately => 0.0,
                0 => choice.misses,
                _ => choice.misses_slow,
            },
            available_kbps: choice.available_kbps,
            narrowest: choice.narrowest,
            load_permille: choice.load_permille,
            overloaded: choice.load.is_raised() && !choice.told.is_stale(now, fresh),
            load_limit: rules
                .thresholds
                .load_permille
                .map_or(0, |level| u32::try_from(level.clear).unwrap_or(u32::MAX)),
        })
        .collect()
    }

    /// How bad what is in use is, with how much traffic: for the order within a step.
    pub fn severity(&self) -> u64 {
        self.choices
            .iter()
            .zip(&self.shares)
            .filter(|(choice, _)| choice.is_alarmed())
            .map(|(choice, share)| (choice.badness() * f64::from(*share)) as u64)
            .sum()
    }

    pub fn is_plain(&self) -> bool {
        self.shares == self.plain
    }

    /// Whether something that plain routes use is to be avoided.
    pub fn is_alarmed(&self) -> bool {
        self.choices
            .iter()
            .zip(&self.plain)
            .any(|(choice, plain)| *plain > 0 && choice.is_alarmed())
    }

    /// What makes these shares of those that are in force.
    pub fn why(&self, shares: &[u16], timing: &Timing) -> Why {
        let changes = self.choices.iter().zip(self.shares.iter().zip(shares));
        let loses = changes
            .clone()
            .filter(|(_, (from, to))| to < from)
            .find(|(choice, _)| choice.is_alarmed());
        if let Some((choice, _)) = loses {
            if choice.draining {
                return Why::Draining(choice.member);
            }
            match choice.told.health {
                _ if !choice.told.is_raised() => {}
                Health::Draining => return Why::Draining(choice.member),
                Health::Overloaded => return Why::Overloaded(choice.member),
                Health::Healthy => {}
            }
            let (alarm, breach) = match choice.way.is_raised() {
                true => (&choice.way, choice.breach),
                false => (&choice.load, choice.load_breach),
            };
            if let Some(breach) = breach {
                return Why::Breach {
                    member: choice.member,
                    breach,
                    bad: alarm.bad_of_last(timing.raise_n),
                    of: timing.raise_n.into(),
                };
            }
            return Why::Step;
        }
        let gains = changes
            .zip(&self.plain)
            .find(|((_, (from, to)), plain)| to > from && **plain > 0);
        gains.map_or(Why::Step, |((choice, _), _)| Why::Better(choice.member))
    }

    /// Of a member with a share in one topology that one only; without any, one share of 0, unless the way there is merely not needed.
    pub fn said_shares(&self) -> Vec<Share> {
        let mut said = Vec::new();
        let both = self.choices.len() / TOPOLOGIES.len();
        for member in 0..both {
            let at = member * TOPOLOGIES.len();
            let ways = at..at + TOPOLOGIES.len();
            let share = |at: usize| Share {
                gateway: self.choices[at].member,
                weight: self.shares[at],
                topology: self.choices[at].topology,
            };
            let used = ways.clone().filter(|&at| self.shares[at] > 0);
            let before = said.len();
            said.extend(used.map(share));
            // Bad on all ways: not even as a backup, as long as there is another.
            if said.len() == before && ways.clone().all(|at| self.choices[at].way.is_raised()) {
                said.push(share(at));
            }
        }
        said
    }
}

impl Choice {
    fn new(member: NodeId, topology: Topology) -> Self {
        Self {
            member,
            topology,
            way: Alarm::default(),
            load: Alarm::default(),
            draining: false,
            told: Told::default(),
            delay_us: 0.0,
            misses: 0.0,
            misses_slow: 0.0,
            breach: None,
            load_breach: None,
            available_kbps: u64::MAX,
            narrowest: LinkKey::default(),
            load_permille: 0,
            reported: None,
        }
    }

    pub fn pair(&self, gateway: NodeId) -> Pair {
        Pair {
            gateway,
            member: self.member,
            topology: self.topology,
        }
    }

    /// What a caller's probes say of the member, as long as its own gateway says nothing.
    fn observe_member(
        &mut self,
        now: Duration,
        report: &Report,
        figures: &Figures,
        rules: &Rules,
    ) -> Option<Change> {
        let (load, breach) = rules.thresholds.judge_load(figures);
        let load = match report.health {
            Health::Overloaded => Verdict::Bad,
            _ => load,
        };
        self.load_breach = breach;
        self.draining = report.health == Health::Draining;
        self.load_permille = report.load_permille;
        self.told.pass(now, &rules.timing);
        self.load.observe(now, load, &rules.timing)
    }

    fn is_alarmed(&self) -> bool {
        self.way.is_raised() || self.load.is_raised() || self.draining || self.told.is_raised()
    }

    fn badness(&self) -> f64 {
        let Some(breach) = self.breach else {
            return 0.5;
        };
        let (measured, raise) = (breach.measured.max(1) as f64, breach.raise.max(1) as f64);
        match breach.figure {
            crate::threshold::Figure::Available => raise / measured,
            _ => measured / raise,
        }
    }
}

/// Parts in proportion, [`WHOLE`] in all.
fn whole(parts: &[u16], sum: u32) -> Vec<u16> {
    let mut seen = 0;
    let mut given = 0;
    let each = parts.iter().map(|part| {
        seen += u32::from(*part);
        // At most WHOLE, since no more was seen than the sum.
        let until = (seen * u32::from(WHOLE) / sum) as u16;
        let share = until - given;
        given = until;
        share
    });
    each.collect()
}
