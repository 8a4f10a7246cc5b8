//! The engine of one scheduling center: reports in, orders out. Deterministic: whoever gives it the same at the same times gets the same.

mod row;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::alarm::Change;
use crate::decision::{Decision, Why};
use crate::pair::Pair;
use crate::plan::{self, Promises, WHOLE};
use crate::policy::{Epoch, MAX_TTL, Policy, PolicyId, Rank, ReplicaId, Share};
use crate::report::Report;
use crate::threshold::{Figures, Thresholds};
use crate::timing::{Timing, TimingError};
use row::Row;

/// How one center decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScscConfig {
    /// Of routers: its scheduling domain.
    pub area: u32,
    /// Which of the area's centers.
    pub replica: ReplicaId,
    /// This start.
    pub epoch: Epoch,
    /// When thresholds are believed.
    pub timing: Timing,
    /// Life of a policy; renewed at half of it.
    pub ttl: Duration,
    /// Of the traffic of a service group at most this much moves in a step, thousandths.
    pub step_permille: u16,
    /// Length of a step.
    pub step: Duration,
    /// A report older than this says nothing of how a choice is.
    pub fresh: Duration,
}

impl Default for ScscConfig {
    fn default() -> Self {
        Self {
            area: 0,
            replica: ReplicaId(1),
            epoch: Epoch(1),
            timing: Timing::default(),
            ttl: Duration::from_secs(30),
            step_permille: 250,
            step: Duration::from_secs(1),
            fresh: Duration::from_secs(4),
        }
    }
}

/// Numbers that no center can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Windows.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// Life.
    #[error("ttl {0:?}: write 2 s to an hour")]
    Ttl(Duration),
    /// Step.
    #[error("step of {0} thousandths: write 1 to 1000")]
    Step(u16),
}

/// A service group, as this center numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// A policy to sign and send to the gateway that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub policy: Policy,
    /// Why; `None`: the same again, because the last one would end.
    pub decision: Option<Decision>,
}

#[derive(Debug)]
struct Group {
    domain: Domain,
    prefix: NameBuf,
    thresholds: Thresholds,
    rows: BTreeMap<NodeId, Row>,
    /// Sum of the rows' rates, kbit/s.
    rate_kbps: u64,
    /// What moved, kbit/s, and when: within the last step.
    moved: VecDeque<(Duration, u64)>,
}

/// Where a pair matters.
#[derive(Debug, Clone, Copy)]
struct Place {
    group: usize,
    choice: usize,
}

/// One scheduling center.
#[derive(Debug)]
pub struct Scsc {
    config: ScscConfig,
    groups: Vec<Group>,
    places: HashMap<Pair, Vec<Place>>,
    /// Rows that are not as plain routes would have them, or should not be.
    active: BTreeSet<(usize, NodeId)>,
    promises: Promises,
    next: u64,
}

impl Scsc {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// When it could not decide by these numbers.
    pub fn new(config: ScscConfig) -> Result<Self, ConfigError> {
        config.timing.check()?;
        if !(Duration::from_secs(2)..=MAX_TTL).contains(&config.ttl) {
            return Err(ConfigError::Ttl(config.ttl));
        }
        if !(1..=WHOLE).contains(&config.step_permille) {
            return Err(ConfigError::Step(config.step_permille));
        }
        Ok(Self {
            config,
            groups: Vec::new(),
            places: HashMap::new(),
            active: BTreeSet::new(),
            promises: Promises::default(),
            next: 1,
        })
    }

    /// A service group comes.
    pub fn group(&mut self, domain: Domain, prefix: NameBuf, thresholds: Thresholds) -> GroupId {
        self.groups.push(Group {
            domain,
            prefix,
            thresholds,
            rows: BTreeMap::new(),
            rate_kbps: 0,
            moved: VecDeque::new(),
        });
        GroupId(self.groups.len() as u32 - 1)
    }

    /// Calls to the group enter at this gateway: to these members, of which plain routes choose `plain`, in equal shares. What was known of the
    /// row is forgotten.
    pub fn caller(
        &mut self,
        group: GroupId,
        gateway: NodeId,
        members: &[NodeId],
        plain: &[NodeId],
    ) {
        let at = group.0 as usize;
        let Some(known) = self.groups.get_mut(at) else {
            return;
        };
        let row = Row::new(members, plain);
        for (choice, of) in row.choices.iter().enumerate() {
            let pair = Pair {
                gateway,
                member: of.member,
                topology: of.topology,
            };
            let places = self.places.entry(pair).or_default();
            places.retain(|place| place.group != at);
            places.push(Place { group: at, choice });
        }
        if let Some(old) = known.rows.insert(gateway, row) {
            known.rate_kbps -= old.rate_kbps;
        }
        self.active.remove(&(at, gateway));
    }

    /// How much traffic to the group enters at this gateway, as it counted.
    pub fn traffic(&mut self, group: GroupId, gateway: NodeId, kbps: u64) {
        let Some(group) = self.groups.get_mut(group.0 as usize) else {
            return;
        };
        if let Some(row) = group.rows.get_mut(&gateway) {
            group.rate_kbps = group.rate_kbps - row.rate_kbps + kbps;
            row.rate_kbps = kbps;
        }
    }

    /// Takes a report. A pair that matters to no group is ignored.
    pub fn report(&mut self, now: Duration, pair: Pair, report: &Report) {
        let Some(places) = self.places.get(&pair) else {
            return;
        };
        let figures = Figures::of(report);
        for place in places {
            let group = &mut self.groups[place.group];
            let Some(row) = group.rows.get_mut(&pair.gateway) else {
                continue;
            };
            let timing = &self.config.timing;
            let change = row.observe(
                place.choice,
                now,
                report,
                &figures,
                &group.thresholds,
                timing,
            );
            // A choice that carries nothing does not matter, until something else looks for a place.
            let avoid = change == Some(Change::Raised) || row.choices[place.choice].draining;
            if avoid && row.shares[place.choice] > 0 {
                self.active.insert((place.group, pair.gateway));
            }
        }
    }

    /// What is to be said now: after every batch of reports, and at least once a second.
    pub fn step(&mut self, now: Duration) -> Vec<Order> {
        let mut orders = Vec::new();
        // The worst first: it has the most of what may move in this step.
        let mut order: Vec<(u64, usize, NodeId)> = Vec::with_capacity(self.active.len());
        for &(group, gateway) in &self.active {
            let row = &self.groups[group].rows[&gateway];
            order.push((u64::MAX - row.severity(), group, gateway));
        }
        order.sort_unstable();
        for (_, group, gateway) in order {
            orders.extend(self.decide(now, group, gateway));
        }
        orders
    }

    /// Rows that are not as plain routes would have them.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.len()
    }

    fn decide(&mut self, now: Duration, at: usize, gateway: NodeId) -> Option<Order> {
        let config = self.config;
        let group = &mut self.groups[at];
        while let Some((at, _)) = group.moved.front()
            && now.saturating_sub(*at) >= config.step
        {
            group.moved.pop_front();
        }
        let row = group.rows.get_mut(&gateway)?;
        let candidates = row.candidates(now, &config, &group.thresholds);
        let mut wanted = plan::target(&candidates, row.rate_kbps, now, &self.promises);
        if now.saturating_sub(row.said) < config.step && row.said > Duration::ZERO {
            // What was said last is not in the reports yet.
            wanted.clone_from(&row.shares);
        }
        let may = u64::from(config.step_permille) * group.rate_kbps / u64::from(WHOLE);
        let lately: u64 = group.moved.iter().map(|(_, kbps)| kbps).sum();
        let left = may.saturating_sub(lately);
        let most = match row.rate_kbps {
            0 => u64::from(WHOLE),
            rate => left * u64::from(WHOLE) / rate,
        };
        let most = u16::try_from(most).unwrap_or(WHOLE);
        let shares = plan::step(&row.shares, &wanted, most);
        let moved = plan::moved(&row.shares, &shares);
        if moved == 0 {
            if row.is_plain() && !row.is_alarmed() {
                self.active.remove(&(at, gateway));
                return None;
            }
            let due = row.until.is_some_and(|until| until <= now + config.ttl / 2);
            return (due && !row.is_plain()).then(|| self.order(now, at, gateway, None));
        }
        let moved_kbps = row.rate_kbps * u64::from(moved) / u64::from(WHOLE);
        group.moved.push_back((now, moved_kbps));
        for ((candidate, from), to) in candidates.iter().zip(&row.shares).zip(&shares) {
            let more = u64::from(to.saturating_sub(*from));
            let kbps = row.rate_kbps * more / u64::from(WHOLE);
            self.promises.add(now, candidate, kbps);
        }
        let why = row.why(&shares, &config.timing);
        row.say(now, shares, &config.timing);
        Some(self.order(now, at, gateway, Some((why, moved_kbps))))
    }

    fn order(
        &mut self,
        now: Duration,
        at: usize,
        gateway: NodeId,
        decided: Option<(Why, u64)>,
    ) -> Order {
        let config = self.config;
        let group = &mut self.groups[at];
        let mut shares: Vec<Share> = Vec::new();
        let mut ttl = Duration::ZERO;
        if let Some(row) = group.rows.get_mut(&gateway) {
            shares = row.said_shares();
            if !row.is_plain() {
                ttl = config.ttl;
            }
            row.until = (!ttl.is_zero()).then_some(now + ttl);
        }
        let decision = decided.map(|(why, moved_kbps)| Decision {
            at: now,
            domain: group.domain,
            prefix: group.prefix.clone(),
            gateway,
            why,
            shares: shares.clone(),
            moved_kbps,
        });
        let id = PolicyId(self.next);
        self.next += 1;
        let mut reason = decision
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let end = (0..=crate::policy::MAX_REASON)
            .rev()
            .find(|&end| reason.is_char_boundary(end));
        reason.truncate(end.unwrap_or(0));
        let policy = Policy {
            rank: Rank {
                epoch: config.epoch,
                replica: config.replica,
                id,
            },
            area: config.area,
            domain: group.domain,
            prefix: group.prefix.clone(),
            gateway,
            ttl,
            shares: if ttl.is_zero() { Vec::new() } else { shares },
            reason,
        };
        Order { policy, decision }
    }
}

/// Both ways to every member.
const TOPOLOGIES: [Topology; 2] = [Topology::Metric, Topology::Delay];
