//! The engine of one scheduling center: reports in, orders out. Deterministic: whoever gives it the same at the same times gets the same.

mod config;
mod group;
mod hold;
mod row;
mod service;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::alarm::Change;
use crate::decision::{Decision, Why};
use crate::pair::Pair;
use crate::plan::{self, Promises, WHOLE};
use crate::policy::{Policy, PolicyId, Rank, Share};
use crate::report::Report;
use crate::rules::Rules;
use crate::threshold::{Figures, Thresholds};
pub use config::{ConfigError, ScscConfig};
use group::Group;
use row::Row;

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

impl Order {
    /// A policy that was not decided here.
    #[must_use]
    pub fn undecided(policy: Policy) -> Self {
        Self {
            policy,
            decision: None,
        }
    }
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
    /// Those that are forgotten are empty.
    groups: Vec<Group>,
    /// Their places.
    free: BTreeSet<usize>,
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
        config.check()?;
        Ok(Self {
            config,
            groups: Vec::new(),
            free: BTreeSet::new(),
            places: HashMap::new(),
            active: BTreeSet::new(),
            promises: Promises::default(),
            next: 1,
        })
    }

    /// A service group comes; when thresholds are believed, and how much moves at once, is as the configuration says now.
    pub fn group(&mut self, domain: Domain, prefix: NameBuf, thresholds: Thresholds) -> GroupId {
        self.group_with(domain, prefix, self.config.rules(thresholds))
    }

    /// A service group with rules of its own comes. Rules that were not [`Rules::check`]ed may never raise or clear anything.
    pub fn group_with(&mut self, domain: Domain, prefix: NameBuf, rules: Rules) -> GroupId {
        let group = Group::new(domain, prefix, rules);
        let at = self.free.pop_first().unwrap_or(self.groups.len());
        match self.groups.get_mut(at) {
            Some(place) => *place = group,
            None => self.groups.push(group),
        }
        GroupId(at as u32)
    }

    /// A service group is gone, with all its callers; its number may be another's next. A policy for it ends by itself.
    pub fn forget_group(&mut self, group: GroupId) {
        let at = group.0 as usize;
        let Some(gone) = self.groups.get(at) else {
            return;
        };
        let callers: Vec<NodeId> = gone.rows.keys().copied().collect();
        for gateway in callers {
            self.forget_caller(group, gateway);
        }
        self.free.insert(at);
    }

    /// Calls to the group enter at this gateway: to these members, of which plain routes choose `plain`, in equal shares. What is known of choices that
    /// it had before stays. Whether it is a caller that was not known.
    pub fn caller(
        &mut self,
        group: GroupId,
        gateway: NodeId,
        members: &[NodeId],
        plain: &[NodeId],
    ) -> bool {
        let at = group.0 as usize;
        let Some(known) = self.groups.get_mut(at) else {
            return false;
        };
        let mut row = Row::new(members, plain);
        let old = known.take(gateway);
        let is_new = old.is_none();
        if let Some(old) = old {
            forget_places(&mut self.places, at, gateway, &old);
            row.inherit(old);
        }
        for (choice, of) in row.choices.iter().enumerate() {
            let place = Place { group: at, choice };
            self.places.entry(of.pair(gateway)).or_default().push(place);
        }
        match row.is_plain() && !row.is_alarmed() {
            true => self.active.remove(&(at, gateway)),
            false => self.active.insert((at, gateway)),
        };
        known.put(gateway, row);
        is_new
    }

    /// No calls to the group enter at this gateway any more. A policy for them ends by itself.
    pub fn forget_caller(&mut self, group: GroupId, gateway: NodeId) {
        let at = group.0 as usize;
        let row = self.groups.get_mut(at).and_then(|one| one.take(gateway));
        if let Some(row) = row {
            forget_places(&mut self.places, at, gateway, &row);
            self.active.remove(&(at, gateway));
        }
    }

    /// After [`Scsc::caller`]: these shares are in force at the gateway, by a policy of an earlier start of this replica that ends at `until`. Whether they
    /// are shares of the row's choices, and all of its traffic.
    pub fn resume(
        &mut self,
        group: GroupId,
        gateway: NodeId,
        shares: &[Share],
        until: Duration,
    ) -> bool {
        let at = group.0 as usize;
        let row = self
            .groups
            .get_mut(at)
            .and_then(|group| group.rows.get_mut(&gateway));
        let resumed = row.is_some_and(|row| row.resume(shares, until));
        if resumed {
            self.active.insert((at, gateway));
        }
        resumed
    }

    /// Decides by other numbers from now on; rows, alarms and what was said stay. Area, replica and epoch stay as well.
    ///
    /// # Errors
    /// When it could not decide by these numbers; nothing changes then.
    pub fn reconfigure(
        &mut self,
        config: ScscConfig,
        rules: impl Fn(Domain, &NameBuf) -> Rules,
    ) -> Result<(), ConfigError> {
        config.check()?;
        self.config = ScscConfig {
            area: self.config.area,
            replica: self.config.replica,
            epoch: self.config.epoch,
            ..config
        };
        for group in &mut self.groups {
            group.rules = rules(group.domain, &group.prefix);
        }
        Ok(())
    }

    /// How much traffic to the group enters at this gateway, as it counted.
    pub fn traffic(&mut self, group: GroupId, gateway: NodeId, kbps: u64) {
        if let Some(group) = self.groups.get_mut(group.0 as usize) {
            group.traffic(gateway, kbps);
        }
    }

    /// Takes a report; whether the pair matters to any group.
    pub fn report(&mut self, now: Duration, pair: Pair, report: &Report) -> bool {
        let Some(places) = self.places.get(&pair) else {
            return false;
        };
        let figures = Figures::of(report);
        for place in places {
            let group = &mut self.groups[place.group];
            let Some(row) = group.rows.get_mut(&pair.gateway) else {
                continue;
            };
            let change = row.observe(
                place.choice,
                now,
                report,
                &figures,
                &group.rules,
                self.config.fresh,
            );
            // A choice that carries nothing does not matter, until something else looks for a place.
            let avoid = change == Some(Change::Raised) || row.choices[place.choice].draining;
            if avoid && row.shares[place.choice] > 0 {
                self.active.insert((place.group, pair.gateway));
            }
        }
        true
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
        let rules = group.rules;
        let left = group.may_move(now, config.step);
        let row = group.rows.get_mut(&gateway)?;
        if row.held {
            return None;
        }
        let candidates = row.candidates(now, config.fresh, &rules);
        let mut wanted = plan::target(&candidates, row.rate_kbps, now, &self.promises);
        if now.saturating_sub(row.said) < config.step && row.said > Duration::ZERO {
            // What was said last is not in the reports yet.
            wanted.clone_from(&row.shares);
        }
        let most = match row.rate_kbps {
            0 => u64::from(WHOLE),
            rate => left / rate,
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
        let moved = row.rate_kbps.saturating_mul(moved.into());
        let moved_kbps = moved / u64::from(WHOLE);
        group.moved.push_back((now, moved));
        for ((candidate, from), to) in candidates.iter().zip(&row.shares).zip(&shares) {
            let more = u64::from(to.saturating_sub(*from));
            let kbps = row.rate_kbps * more / u64::from(WHOLE);
            self.promises.add(now, candidate, kbps);
        }
        let why = row.why(&shares, &rules.timing);
        row.say(now, shares, &rules.timing);
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

/// What is told of the row's pairs does not matter to the group any more.
fn forget_places(places: &mut HashMap<Pair, Vec<Place>>, group: usize, gateway: NodeId, row: &Row) {
    for choice in &row.choices {
        let pair = choice.pair(gateway);
        let Some(all) = places.get_mut(&pair) else {
            continue;
        };
        all.retain(|place| place.group != group);
        if all.is_empty() {
            places.remove(&pair);
        }
    }
}

/// Both ways to every member.
const TOPOLOGIES: [Topology; 2] = [Topology::Metric, Topology::Delay];
