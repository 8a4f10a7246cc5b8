//! What people see of a center: quality of pairs, shares of groups, who is there. Looking copies, and never waits for anybody.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use dmsc_scsc::plan::WHOLE;
use dmsc_scsc::{Health, LinkKey, Pair, Report};
use dmsc_wire::{Domain, NameBuf, NodeId};

use super::{Center, InForce, Scope};
use crate::operator::page::first;
use crate::scsc::groups::Group;

/// What the last report of a pair said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Between whom.
    pub pair: Pair,
    /// Of the report.
    pub age: Duration,
    /// Probes that were answered.
    pub samples: u32,
    /// Two-way; `None` without an answer.
    pub delay_p50_us: Option<u32>,
    /// As above.
    pub delay_p99_us: Option<u32>,
    /// Differences of consecutive delays.
    pub jitter_p99_us: Option<u32>,
    /// `None` if no probe was sent.
    pub loss_ppm: Option<u32>,
    /// On the way; `None`: not known.
    pub available_kbps: Option<u64>,
    /// Where that is.
    pub narrowest: LinkKey,
    /// Of the far end.
    pub load_permille: u32,
    /// Of the far end.
    pub health: Health,
}

impl Measured {
    fn new(now: Duration, pair: Pair, (at, report): &(Duration, Report)) -> Self {
        Self {
            pair,
            age: now.saturating_sub(*at),
            samples: report.answered,
            delay_p50_us: report.delay.quantile(500),
            delay_p99_us: report.delay.quantile(990),
            jitter_p99_us: report.variation.quantile(990),
            loss_ppm: report.loss_ppm(),
            available_kbps: Some(report.available_kbps).filter(|kbps| *kbps != u64::MAX),
            narrowest: report.narrowest,
            load_permille: report.load_permille,
            health: report.health,
        }
    }
}

/// How bad a pair is, for the order in which people look: µs of delay, of which each percent lost counts ten thousand.
fn badness(report: &Report) -> u64 {
    let delay = report.delay.quantile(990).unwrap_or(0);
    u64::from(delay) + u64::from(report.loss_ppm().unwrap_or(0)) * (1 + report.health as u64)
}

/// Which pairs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// Only from this gateway.
    pub from: Option<NodeId>,
    /// Only to this one.
    pub to: Option<NodeId>,
}

impl Ends {
    fn has(&self, pair: &Pair) -> bool {
        self.from.is_none_or(|from| from == pair.gateway)
            && self.to.is_none_or(|to| to == pair.member)
    }
}

/// A service group as the callers of one gateway have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Tenant.
    pub domain: Domain,
    /// Of the group.
    pub prefix: NameBuf,
    /// Of the callers.
    pub gateway: NodeId,
    /// By member.
    pub members: Vec<Part>,
    /// Whether a policy is in force.
    pub policy: bool,
}

/// A member's part of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its gateway.
    pub member: NodeId,
    /// By plain routes, thousandths.
    pub plain: u16,
    /// As it is now, thousandths.
    pub now: u16,
}

impl Center {
    /// Pairs with these ends, in their order, the first `most` after `after`.
    #[must_use]
    pub fn quality(&self, ends: Ends, after: Option<&Pair>, most: usize) -> Vec<(Pair, Measured)> {
        let now = self.now();
        let inner = self.inner();
        let all = inner.quality.iter().filter(|(pair, _)| ends.has(pair));
        let keys = first(all.map(|(pair, known)| (*pair, known)), after, most);
        keys.into_iter()
            .map(|(pair, known)| (pair, Measured::new(now, pair, known)))
            .collect()
    }

    /// How many pairs have these ends.
    #[must_use]
    pub fn quality_count(&self, ends: Ends) -> usize {
        let inner = self.inner();
        inner.quality.keys().filter(|pair| ends.has(pair)).count()
    }

    /// The `most` worst pairs, the worst first; and how many there are.
    #[must_use]
    pub fn worst(&self, most: usize) -> (Vec<Measured>, usize) {
        let now = self.now();
        let inner = self.inner();
        let ranked = inner.quality.iter();
        let mut ranked: Vec<(Reverse<u64>, Pair)> = ranked
            .map(|(pair, (_, report))| (Reverse(badness(report)), *pair))
            .collect();
        let total = ranked.len();
        if most < total {
            ranked.select_nth_unstable(most);
            ranked.truncate(most);
        }
        ranked.sort_unstable();
        let worst = ranked.into_iter().filter_map(|(_, pair)| {
            let known = inner.quality.get(&pair)?;
            Some(Measured::new(now, pair, known))
        });
        (worst.collect(), total)
    }

    /// Gateways and routers that are connected.
    #[must_use]
    pub fn connected(&self) -> BTreeSet<NodeId> {
        self.inner().streams.keys().copied().collect()
    }

    /// Groups by the gateways of their callers, at most `most`, those with a policy first; and how many there are.
    #[must_use]
    pub fn rows(&self, most: usize) -> (Vec<Row>, usize) {
        let now = self.now();
        let inner = self.inner();
        let all = inner.groups.iter().map(|(_, group)| group.callers().len());
        let total = all.sum();
        let with_policy = inner.in_force.iter().filter_map(|(scope, one)| {
            let group = inner.groups.get(&(scope.0, scope.1.clone()))?;
            group.row(scope, Some(one).filter(|one| one.until > now))
        });
        let mut rows: Vec<Row> = with_policy.take(most).collect();
        let scopes = inner.groups.iter().flat_map(|((domain, prefix), group)| {
            let callers = group.callers();
            callers.map(move |gateway| ((*domain, prefix.clone(), gateway), group))
        });
        let plain = scopes
            .filter(|(scope, _)| !inner.in_force.contains_key(scope))
            .filter_map(|(scope, group)| group.row(&scope, None));
        rows.extend(plain.take(most - rows.len()));
        (rows, total)
    }

    /// Policies in force with the time that is left, in the order of their scopes, the first `most` after `after`.
    #[must_use]
    pub(in crate::scsc) fn policies_after(
        &self,
        after: Option<&Scope>,
        most: usize,
    ) -> Vec<(InForce, Duration)> {
        use std::ops::Bound;
        let now = self.now();
        let inner = self.inner();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = inner.in_force.range::<Scope, _>((from, Bound::Unbounded));
        all.take(most)
            .map(|(_, one)| (one.clone(), one.until.saturating_sub(now)))
            .collect()
    }

    /// How long a policy is in force still.
    #[must_use]
    pub fn time_left(&self, one: &InForce) -> Duration {
        one.until.saturating_sub(self.now())
    }
}

impl Group {
    pub(super) fn row(&self, scope: &Scope, policy: Option<&InForce>) -> Option<Row> {
        let plain = self.plain(scope.2)?;
        let shares = policy.map_or(&[][..], |one| &one.policy.shares);
        let all: u32 = shares.iter().map(|share| u32::from(share.weight)).sum();
        let part = |member: &NodeId| {
            let plain = match plain.contains(member) {
                true => WHOLE / u16::try_from(plain.len()).unwrap_or(u16::MAX).max(1),
                false => 0,
            };
            let own = shares.iter().filter(|share| share.gateway == *member);
            let own: u32 = own.map(|share| u32::from(share.weight)).sum();
            let now = (own * u32::from(WHOLE)).checked_div(all);
            Part {
                member: *member,
                plain,
                now: now.map_or(plain, |now| u16::try_from(now).unwrap_or(WHOLE)),
            }
        };
        Some(Row {
            domain: scope.0,
            prefix: scope.1.clone(),
            gateway: scope.2,
            members: self.considered().iter().map(part).collect(),
            policy: policy.is_some(),
        })
    }
}
