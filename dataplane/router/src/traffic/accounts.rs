//! All workers' counts added up, for whoever asks: sums since the start, by prefix, member and next hop.

use std::collections::BTreeMap;
use std::ops::Bound;

use dmsc_fib::AdjacencyId;
use dmsc_proto::Latency;
use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use super::{Sum, Sums, Tally};
use crate::clock::Clock;

/// Most prefixes that are remembered; the traffic of further ones is counted as other.
const MOST: usize = 65_536;
/// Most members of a prefix that are told apart; the sums of the prefix have all.
const MEMBERS: usize = 256;
/// Most ways of a prefix that are told apart; its members have all.
const WAYS: usize = 1_024;
/// A prefix without traffic is forgotten after so many ns, ten minutes.
const IDLE: u64 = 600_000_000_000;
/// Between two looks for such, ns.
const TIDY: u64 = IDLE / 10;

/// What became of the calls whose answers were looked out for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Answered: their latency is known.
    pub matched: u64,
    /// Answers that nobody looked out for here: another worker received the request, or they came again.
    pub unmatched: u64,
    /// Calls that were not answered in time.
    pub unanswered: u64,
    /// Calls, or latencies, that there was no room for.
    pub crowded: u64,
    /// Of which their pods told how long they took.
    pub told: u64,
}

/// By what calls leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// The adjacency, or [`HERE`](super::HERE).
    pub adjacency: AdjacencyId,
    /// The router behind it; [`NodeId::NONE`] of a pod here.
    pub peer: NodeId,
}

/// One prefix.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Reading with which it began.
    pub since: u64,
    /// Reading that changed it last.
    pub changed: u64,
    /// When calls were counted last, ns.
    counted_ns: u64,
    /// Over all members.
    pub sum: Sum,
    /// By member.
    pub members: Sums<NodeId>,
    /// By member and next hop.
    pub ways: Sums<(NodeId, NextHop)>,
    /// From request to response.
    pub latency: Latency,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Accounts {
    reading: u64,
    read_ns: u64,
    tidied_ns: u64,
    groups: BTreeMap<(Domain, NameBuf), Account>,
    other: Sum,
    answers: Answers,
}

impl Accounts {
    /// Begins a reading.
    pub fn begin(&mut self, now_ns: u64) {
        self.reading += 1;
        self.read_ns = now_ns;
        if now_ns.saturating_sub(self.tidied_ns) >= TIDY {
            self.tidied_ns = now_ns;
            let is_idle = |one: &Account| now_ns.saturating_sub(one.counted_ns) > IDLE;
            self.groups.retain(|_, one| !is_idle(one));
        }
    }

    /// Adds the counts of one worker.
    pub fn add(&mut self, tally: &Tally, clock: Clock) {
        for counted in tally.sums() {
            let sum = counted.sum;
            let Some(account) = self.account(counted.domain, &counted.name) else {
                self.other.add(sum);
                continue;
            };
            account.sum.add(sum);
            account.members.add(MEMBERS, counted.gateway, sum);
            let way = (counted.gateway, counted.next_hop);
            account.ways.add(WAYS, way, sum);
        }
        for (domain, name, cycles) in tally.latencies() {
            if let Some(account) = self.account(domain, &name) {
                account.latency.add(clock.to_ns(cycles));
            }
        }
        self.other.add(tally.other());
        let (all, more) = (&mut self.answers, tally.answers());
        all.matched += more.matched;
        all.unmatched += more.unmatched;
        all.unanswered += more.unanswered;
        all.crowded += more.crowded;
    }

    /// Answers to calls of `name`, as a pod here tells it; false where its calls are counted for no prefix.
    pub fn tell(&mut self, domain: Domain, name: Name<'_>, latency: &Latency) -> bool {
        if latency.count() == 0 {
            return false;
        }
        let prefixes = (1..=name.component_count()).rev();
        let mut keys = prefixes.map(|depth| (domain, name.prefix(depth).to_owned()));
        let Some(key) = keys.find(|key| self.groups.contains_key(key)) else {
            return false;
        };
        if let Some(account) = self.groups.get_mut(&key) {
            account.latency.merge(latency);
            // Whoever has read this reading has not read this.
            account.changed = self.reading + 1;
        }
        self.answers.told = self.answers.told.saturating_add(latency.count());
        true
    }

    /// The account of a prefix, changed with this reading; `None` without room.
    fn account(&mut self, domain: Domain, name: &[u8]) -> Option<&mut Account> {
        let key = (domain, NameBuf::from_bytes(name).ok()?);
        let (now, now_ns) = (self.reading, self.read_ns);
        if self.groups.len() >= MOST && !self.groups.contains_key(&key) {
            return None;
        }
        let account = self.groups.entry(key).or_insert_with(|| Account {
            since: now,
            ..Account::default()
        });
        account.changed = account.changed.max(now);
        account.counted_ns = now_ns;
        Some(account)
    }

    /// The last reading.
    pub fn reading(&self) -> u64 {
        self.reading
    }

    /// When that was, ns of the TSC.
    pub fn read_ns(&self) -> u64 {
        self.read_ns
    }

    /// Traffic that belongs to no account.
    pub fn other(&self) -> Sum {
        self.other
    }

    /// What became of the calls whose answers were looked out for.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// Accounts that changed after that reading, by domain and prefix, those behind `after`.
    pub fn changed(
        &self,
        since: u64,
        after: Option<&(Domain, NameBuf)>,
    ) -> impl Iterator<Item = (&(Domain, NameBuf), &Account)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.groups.range((from, Bound::Unbounded));
        all.filter(move |(_, one)| one.changed > since)
    }
}
