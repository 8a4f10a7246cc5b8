//! Service groups: the gateways that serve a prefix, and which of them a flow goes to (design §4.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use dmsc_wire::{FlowLabel, NodeId};

use crate::delay_share::DelayShare;
use crate::raw;
use crate::stratified::{self, BLOCK, BLOCKS};

pub use crate::stratified::Slot;

/// Slots that a group compiles its choice into.
pub const SLOTS: usize = BLOCK * BLOCKS;
/// Most members of a group: a slot is one byte.
pub const MAX_MEMBERS: usize = 255;

/// One gateway of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The gateway.
    pub gateway: NodeId,
    /// Length of the path to it, as seen from this router.
    pub metric: u32,
    /// Its share among members of the same kind; 0: never chosen by weight, only as a backup.
    pub weight: u16,
    /// How much of `weight` is of flows that go there by delay whatever their class.
    pub delay_weight: u16,
}

impl Member {
    /// How many of its flows go there by delay.
    #[inline]
    pub fn by_delay(&self) -> DelayShare {
        DelayShare::of(self.delay_weight, self.weight)
    }
}

/// Which members are primary, and in what proportion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupPolicy {
    /// The members at least metric (of those with a weight), in equal shares.
    #[default]
    Nearest,
    /// All members with a weight, in proportion to their weights.
    Weighted,
}

/// Why members do not make a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A slot is one byte.
    #[error("a service group of {0} members: at most {MAX_MEMBERS} are possible, split the prefix")]
    TooManyMembers(usize),
    /// Every gateway is one member; add up the weights.
    #[error("gateway {0} is in the service group twice: list it once, with the sum of its weights")]
    DuplicateGateway(NodeId),
}

/// Members, and the choice among them compiled into slots.
///
/// The choice is a pure function of members, policy and flow label: equal on all routers that see the
/// same primaries, and after a restart. Members are chosen by weighted rendezvous, so a member that comes
/// takes only the flows that are now its own, and one that goes leaves all others where they are.
///
/// Cheap to clone. A slot takes as many bits as the number of primaries needs, of 1, 2, 4 and 8: 512 bytes for two primaries; a group
/// of one has no slots.
#[derive(Clone, Debug)]
pub struct Group {
    inner: Arc<Inner<[u64]>>,
}

/// Primaries whose gateways stand beside the slots.
const NEAR: usize = 12;

/// In one piece, so that a flow waits for memory once: the line of its slot and that of the gateways have addresses that are known beforehand.
#[derive(Debug)]
#[repr(C, align(64))]
struct Inner<S: ?Sized> {
    /// Gateways of the first primaries; [`NodeId::NONE`] where there are fewer.
    near: [NodeId; NEAR],
    /// A primary has flows that go by delay.
    some_by_delay: bool,
    policy: GroupPolicy,
    members: Vec<Member>,
    /// Indices of the primary members, and weights of the policy.
    primaries: Vec<(u8, u16)>,
    /// Indices of the others by metric.
    backups: Vec<u8>,
    /// Per slot which of the primaries, [`SLOTS`] numbers of 1, 2, 4 or 8 bits; empty if there are fewer than two primaries.
    slots: S,
}

/// Words of slots with one bit each.
const BITS: usize = SLOTS / u64::BITS as usize;

impl Inner<[u64; 0]> {
    /// With slots that are packed into `N` words.
    fn with<const N: usize>(self, slots: &[u8]) -> Inner<[u64; N]> {
        let width = N / BITS;
        let mut words = [0; N];
        for (slot, number) in slots.iter().enumerate() {
            let at = slot * width;
            words[at / 64] |= u64::from(*number) << (at % 64);
        }
        Inner {
            near: self.near,
            some_by_delay: self.some_by_delay,
            policy: self.policy,
            members: self.members,
            primaries: self.primaries,
            backups: self.backups,
            slots: words,
        }
    }
}

impl Group {
    /// A group of these members; one without members is possible and never selects.
    pub fn new(mut members: Vec<Member>, policy: GroupPolicy) -> Result<Self, GroupError> {
        if members.len() > MAX_MEMBERS {
            return Err(GroupError::TooManyMembers(members.len()));
        }
        // The order in which members are given must not matter.
        members.sort_by_key(|m| m.gateway);
        if let Some(pair) = members
            .windows(2)
            .find(|pair| pair[0].gateway == pair[1].gateway)
        {
            return Err(GroupError::DuplicateGateway(pair[0].gateway));
        }
        let least = members
            .iter()
            .filter(|m| m.weight > 0)
            .map(|m| m.metric)
            .min();
        let primary_weight = |m: &Member| match policy {
            GroupPolicy::Nearest => u16::from(m.weight > 0 && Some(m.metric) == least),
            GroupPolicy::Weighted => m.weight,
        };
        let mut primaries = Vec::new();
        let mut backups = Vec::new();
        for (index, member) in (0..=u8::MAX).zip(&members) {
            match primary_weight(member) {
                0 => backups.push(index),
                weight => primaries.push((index, weight)),
            }
        }
        backups.sort_by_key(|&index| members[usize::from(index)].metric);
        let mut near = [NodeId::NONE; NEAR];
        for (near, &(index, _)) in near.iter_mut().zip(&primaries) {
            *near = members[usize::from(index)].gateway;
        }
        let slots = match primaries.len() {
            0 | 1 => Vec::new(),
            _ => compile(&members, &primaries),
        };
        let count = primaries.len();
        let some_by_delay = primaries
            .iter()
            .any(|&(index, _)| members[usize::from(index)].delay_weight > 0);
        let without_slots = Inner {
            near,
            some_by_delay,
            policy,
            members,
            primaries,
            backups,
            slots: [],
        };
        let inner: Arc<Inner<[u64]>> = match count {
            0 | 1 => Arc::new(without_slots),
            2 => Arc::new(without_slots.with::<BITS>(&slots)),
            3..=4 => Arc::new(without_slots.with::<{ 2 * BITS }>(&slots)),
            5..=16 => Arc::new(without_slots.with::<{ 4 * BITS }>(&slots)),
            _ => Arc::new(without_slots.with::<{ 8 * BITS }>(&slots)),
        };
        Ok(Self { inner })
    }

    /// All members, by gateway.
    pub fn members(&self) -> &[Member] {
        &self.inner.members
    }

    /// The policy that the group was made with.
    pub fn policy(&self) -> GroupPolicy {
        self.inner.policy
    }

    /// The members that flows are spread over while all are eligible.
    pub fn primaries(&self) -> impl Iterator<Item = &Member> {
        self.inner
            .primaries
            .iter()
            .map(|&(index, _)| self.member(index))
    }

    /// The other members, in the order of their metric.
    pub fn backups(&self) -> impl Iterator<Item = &Member> {
        self.inner.backups.iter().map(|&index| self.member(index))
    }

    /// The member for this flow: that of its slot; if that is not eligible, the next of the same slot
    /// among the eligible primaries, else the eligible backup at least metric.
    #[inline]
    pub fn select(&self, flow: FlowLabel, eligible: impl Fn(&Member) -> bool) -> Option<&Member> {
        let slot = Slot::of(flow);
        let first = self.inner.primaries.get(self.primary(slot));
        if let Some(member) = first.map(|&(index, _)| self.member(index))
            && eligible(member)
        {
            return Some(member);
        }
        self.select_next(slot, eligible)
    }

    /// The gateway of the member that [`Group::select`] asks about first; [`NodeId::NONE`] of a group without primaries.
    #[inline(always)]
    pub fn first(&self, slot: Slot) -> NodeId {
        let primary = self.primary(slot);
        match self.inner.near.get(primary) {
            Some(gateway) => *gateway,
            None => self.far(primary),
        }
    }

    /// Whether flows of this slot go by delay to the member that [`Group::first`] gives.
    #[inline(always)]
    pub fn first_by_delay(&self, slot: Slot) -> bool {
        self.inner.some_by_delay && self.far_by_delay(slot)
    }

    #[inline(never)]
    fn far_by_delay(&self, slot: Slot) -> bool {
        let found = self.inner.primaries.get(self.primary(slot));
        found.is_some_and(|&(index, _)| self.member(index).by_delay().takes_slot(slot))
    }

    /// How many of the flows to this gateway go there by delay, whoever chose it.
    pub fn share_by_delay(&self, gateway: NodeId) -> DelayShare {
        let members = &self.inner.members;
        let found = members.binary_search_by_key(&gateway, |member| member.gateway);
        found.map_or(DelayShare::NONE, |at| members[at].by_delay())
    }

    #[inline(never)]
    fn far(&self, primary: usize) -> NodeId {
        let found = self.inner.primaries.get(primary);
        found.map_or(NodeId::NONE, |&(index, _)| self.member(index).gateway)
    }

    /// Asks for what [`Group::first`] of this slot reads, ahead of use.
    #[inline(always)]
    pub fn prefetch(&self, slot: Slot) {
        raw::prefetch(&self.inner.near);
        if let Some(word) = self.inner.slots.get(self.place(slot) / 64) {
            raw::prefetch(word);
        }
    }

    /// The first bit of a slot.
    #[inline(always)]
    fn place(&self, slot: Slot) -> usize {
        slot.number() * (self.inner.slots.len() / BITS)
    }

    /// Which of the primaries a slot belongs to.
    #[inline(always)]
    fn primary(&self, slot: Slot) -> usize {
        let place = self.place(slot);
        let word = self.inner.slots.get(place / 64).copied().unwrap_or(0);
        let ones = (1u64 << (self.inner.slots.len() / BITS)) - 1;
        (word >> (place % 64) & ones) as usize
    }

    /// Whether what the choice reads fits the members.
    pub(crate) fn is_sound(&self) -> bool {
        let inner = &*self.inner;
        let count = inner.primaries.len();
        let mut members: Vec<u8> = inner.primaries.iter().map(|&(index, _)| index).collect();
        members.extend(&inner.backups);
        members.sort_unstable();
        let is_each_once = members
            .iter()
            .map(|&m| usize::from(m))
            .eq(0..inner.members.len());
        let is_in_order = inner.members.is_sorted_by(|a, b| a.gateway < b.gateway);
        if !is_each_once || !is_in_order {
            return false;
        }
        let gateways = self.primaries().map(|member| member.gateway);
        let is_near = gateways
            .chain(std::iter::repeat(NodeId::NONE))
            .take(NEAR)
            .eq(inner.near);
        let bits = match count {
            0 | 1 => 0,
            2 => 1,
            3..=4 => 2,
            5..=16 => 4,
            _ => 8,
        };
        let has_slots = inner.slots.len() == bits * BITS
            && (bits == 0 || Slot::all().all(|slot| self.primary(slot) < count));
        let by_delay = self.primaries().any(|member| member.delay_weight > 0);
        is_near && has_slots && by_delay == inner.some_by_delay
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let inner = &*self.inner;
        size_of_val(inner)
            + inner.members.len() * size_of::<Member>()
            + inner.primaries.len() * size_of::<(u8, u16)>()
            + inner.backups.len()
    }

    /// Rare: only flows whose own member is away come here, until the group itself is updated.
    #[cold]
    fn select_next(&self, slot: Slot, eligible: impl Fn(&Member) -> bool) -> Option<&Member> {
        let rank = |member: &Member, weight| {
            let slot = slot.number();
            let score = stratified::scores(member.gateway, slot / BLOCK)[slot % BLOCK];
            stratified::rank(score, weight)
        };
        let primaries = self
            .inner
            .primaries
            .iter()
            .map(|&(index, w)| (self.member(index), w));
        let next = primaries
            .filter(|(member, _)| eligible(member))
            .map(|(member, weight)| (rank(member, weight), member))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, member)) = next {
            return Some(member);
        }
        let mut best: Option<(f64, &Member)> = None;
        for member in self.backups().filter(|member| eligible(member)) {
            if best.is_some_and(|(_, best)| best.metric < member.metric) {
                break; // in the order of metric
            }
            let rank = rank(member, 1);
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, member));
            }
        }
        best.map(|(_, member)| member)
    }

    fn member(&self, index: u8) -> &Member {
        &self.inner.members[usize::from(index)]
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
            || self.policy() == other.policy() && self.members() == other.members()
    }
}

impl Eq for Group {}

/// The primary of least rank in every slot, by its place among them; the lower gateway id if two are equal.
fn compile(members: &[Member], primaries: &[(u8, u16)]) -> Vec<u8> {
    let mut slots = vec![0; SLOTS];
    // Equal weights need no logarithm: the highest score is first.
    let weights: BTreeSet<u16> = primaries.iter().map(|&(_, weight)| weight).collect();
    let equal = weights.len() == 1;
    for (block, slots) in slots.chunks_mut(BLOCK).enumerate() {
        let mut least = [f64::INFINITY; BLOCK];
        for (place, &(index, weight)) in (0..=u8::MAX).zip(primaries) {
            let scores = stratified::scores(members[usize::from(index)].gateway, block);
            for ((slot, least), score) in slots.iter_mut().zip(&mut least).zip(scores) {
                let rank = if equal {
                    -f64::from(score)
                } else {
                    stratified::rank(score, weight)
                };
                if rank < *least {
                    (*slot, *least) = (place, rank);
                }
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests;
