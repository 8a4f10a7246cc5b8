//! Counts of one worker over one span: a bounded table of the prefixes, members and next hops that had traffic in it. What finds no room is counted as
//! other.

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;

use dmsc_fib::{AdjacencyId, DelayShare, PrefixMatch, RecordId};
use dmsc_wire::{Domain, FlowLabel, Name, NodeId};
use hashbrown::DefaultHashBuilder;

use super::{Answers, NextHop, Sum, Target};

/// Slots that are compared with one key.
const WAYS: usize = 4;
const SETS: usize = 2_048;
/// Most prefixes, members and next hops with traffic in a span, of one worker.
pub const SLOTS: usize = SETS * WAYS;
/// Bytes for the names of prefixes.
const NAMES: usize = SLOTS * 48;
/// Most latencies of a span.
const SAMPLES: usize = 16_384;
/// Names of which it is known for which prefix they are counted, though their packets need no look-up.
const KNOWN: usize = 4_096;
/// With so many slots in use, a target whose places are taken shows that there is no room.
const NEARLY_ALL: usize = SLOTS / 16 * 15;
/// In the place of a slot: counted as other.
const NOWHERE: u16 = u16::MAX;

/// One prefix, member and next hop.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// 0: free.
    key: Cell<u64>,
    packets: Cell<u64>,
    bytes: Cell<u64>,
    /// More than a worker sees in minutes.
    requests: Cell<u32>,
    /// Beside the key.
    next_hop: Cell<AdjacencyId>,
}

/// Two cache lines.
#[derive(Debug, Clone, Default)]
#[repr(align(64))]
struct Set([Slot; WAYS]);

impl Slot {
    #[inline(always)]
    fn is_of(&self, to: Target) -> bool {
        self.key.get() == to.key() && self.next_hop.get() == to.next_hop
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        self.key.get() == 0
    }

    #[inline(always)]
    fn add(&self, bytes: u64, is_request: bool) {
        self.packets.set(self.packets.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        let requests = self.requests.get().saturating_add(is_request.into());
        self.requests.set(requests);
    }

    fn sum(&self) -> Sum {
        Sum {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            requests: self.requests.get().into(),
        }
    }

    fn clear(&self) {
        for cell in [&self.key, &self.packets, &self.bytes] {
            cell.set(0);
        }
        self.requests.set(0);
    }
}

/// What the ids of a target stand for.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// The caller's tenant.
    pub domain: Domain,
    /// The name of the prefix.
    pub prefix: Name<'a>,
    /// The router behind the next hop; [`NodeId::NONE`] of a pod here.
    pub peer: NodeId,
}

/// What was counted of one prefix, member and next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The tenant.
    pub domain: Domain,
    /// Of the prefix, canonical.
    pub name: Vec<u8>,
    /// The member.
    pub gateway: NodeId,
    /// By what it left.
    pub next_hop: NextHop,
    /// How much.
    pub sum: Sum,
}

/// What a slot in use is of.
#[derive(Debug, Clone, Copy)]
struct Row {
    slot: u16,
    domain: Domain,
    gateway: NodeId,
    next_hop: NextHop,
    /// Where its prefix lies among the names.
    start: u32,
    length: u8,
}

/// A call that was answered.
#[derive(Debug, Clone, Copy)]
struct Sample {
    slot: u16,
    /// TSC cycles from request to response.
    cycles: u64,
}

/// What is asked rarely; never grown.
#[derive(Debug)]
struct Rows {
    used: Vec<Row>,
    names: Vec<u8>,
    samples: Vec<Sample>,
}

/// For what packets with this name and gateway are counted.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Of tenant, name and gateway; 0: none.
    hash: Cell<u64>,
    /// Of the prefix; `None`: as other.
    record: Cell<Option<RecordId>>,
    components: Cell<u8>,
    by_delay: Cell<DelayShare>,
}

/// Counts of one span. Written by one worker, then read by one reader.
#[derive(Debug)]
pub struct Tally {
    sets: Box<[Set]>,
    /// By first set: bits of the targets that have a slot, there or further on. Most that have none are told by these alone.
    filters: Box<[Cell<u64>]>,
    /// No room is looked for any more in this span: nearly all slots are in use, or the names are full.
    is_full: Cell<bool>,
    known: Box<[Place]>,
    /// Of what is known.
    key: DefaultHashBuilder,
    rows: RefCell<Rows>,
    other: Slot,
    pub(super) answers: AnswerCells,
}

/// What became of the calls that were looked out for.
#[derive(Debug, Default)]
pub(super) struct AnswerCells {
    pub matched: Cell<u64>,
    pub unmatched: Cell<u64>,
    pub unanswered: Cell<u64>,
    pub crowded: Cell<u64>,
}

/// One more.
pub(super) fn bump(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            sets: vec![Set::default(); SETS].into(),
            filters: vec![Cell::default(); SETS].into(),
            is_full: Cell::default(),
            known: vec![Place::default(); KNOWN].into(),
            key: DefaultHashBuilder::default(),
            rows: RefCell::new(Rows {
                used: Vec::with_capacity(SLOTS),
                names: Vec::with_capacity(NAMES),
                samples: Vec::with_capacity(SAMPLES),
            }),
            other: Slot::default(),
            answers: AnswerCells::default(),
        }
    }
}

/// A step over 64 bits that spreads them to the upper ones.
#[inline(always)]
fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Where a target is, most of the time.
#[derive(Clone, Copy)]
struct First {
    /// Number of the set.
    set: usize,
    /// In the filter of that set.
    bit: u64,
}

impl First {
    #[inline(always)]
    fn of(to: Target) -> First {
        let key = to.key();
        // The gateway is in the lower half, the record in the upper: folded, so that both reach the upper bits. The next hop is laid over bits of the record,
        // so that the ways to one member do not fill one set.
        let mixed = spread(key ^ key >> 29 ^ u64::from(to.next_hop.0) << 48);
        First {
            set: (mixed >> 53) as usize % SETS,
            bit: 1 << (mixed >> 47 & 63),
        }
    }
}

/// Where others begin.
fn second(to: Target) -> usize {
    let hop = u64::from(to.next_hop.0) << 29;
    (spread(to.key().rotate_left(17) ^ hop ^ 0x51ED_270B) >> 53) as usize
}

impl Tally {
    /// Counts a packet. `label` is asked the first time in a span only.
    #[inline(always)]
    pub fn count<'a>(
        &self,
        to: Target,
        bytes: u64,
        is_request: bool,
        label: impl FnOnce() -> Option<Label<'a>>,
    ) {
        let first = First::of(to);
        if self.has(first) {
            for slot in &self.sets[first.set].0 {
                if slot.is_of(to) {
                    return slot.add(bytes, is_request);
                }
            }
        } else if self.is_full.get() {
            return self.other.add(bytes, is_request);
        }
        self.count_first(to, bytes, is_request, label);
    }

    /// A target that is there first may have a slot.
    #[inline(always)]
    fn has(&self, first: First) -> bool {
        self.filters[first.set].get() & first.bit != 0
    }

    #[cold]
    #[inline(never)]
    fn count_first<'a>(
        &self,
        to: Target,
        bytes: u64,
        is_request: bool,
        label: impl FnOnce() -> Option<Label<'a>>,
    ) {
        let slot = self.slot(to, label);
        self.at(slot).add(bytes, is_request);
    }

    #[inline(always)]
    fn at(&self, slot: u16) -> &Slot {
        let set = self.sets.get(usize::from(slot) / WAYS);
        set.map_or(&self.other, |set| &set.0[usize::from(slot) % WAYS])
    }

    /// The slot of a target, taken into use if it is not; [`NOWHERE`] without room.
    fn slot<'a>(&self, to: Target, label: impl FnOnce() -> Option<Label<'a>>) -> u16 {
        // Nothing is freed within a span, so no target is elsewhere while its first set has room.
        let set = First::of(to).set;
        let mut near = self.sets[set].0.iter().enumerate();
        match near.find(|(_, slot)| slot.is_of(to) || slot.is_free()) {
            Some((way, slot)) if slot.is_of(to) => (set * WAYS + way) as u16,
            Some((way, _)) => self.open((set * WAYS + way) as u16, to, label),
            None => self.far_slot(to, label),
        }
    }

    /// Of a target whose first set is full.
    fn far_slot<'a>(&self, to: Target, label: impl FnOnce() -> Option<Label<'a>>) -> u16 {
        let far = second(to);
        let sets = [far, far + 1, far + 2].map(|set| set % SETS);
        let all = || {
            let slots = sets.iter().flat_map(|set| (set * WAYS)..(set + 1) * WAYS);
            slots.map(|slot| slot as u16)
        };
        if let Some(slot) = all().find(|slot| self.at(*slot).is_of(to)) {
            return slot;
        }
        let free = all().find(|slot| self.at(*slot).is_free());
        match free {
            Some(slot) => self.open(slot, to, label),
            None => {
                let used = self.rows.try_borrow().map_or(0, |rows| rows.used.len());
                self.is_full.set(self.is_full.get() || used >= NEARLY_ALL);
                NOWHERE
            }
        }
    }

    /// Takes a free slot into use.
    fn open<'a>(&self, slot: u16, to: Target, label: impl FnOnce() -> Option<Label<'a>>) -> u16 {
        let Ok(mut rows) = self.rows.try_borrow_mut() else {
            return NOWHERE;
        };
        let Some(label) = label() else {
            return NOWHERE;
        };
        let name = label.prefix.as_bytes();
        let start = rows.names.len();
        if rows.used.len() == SLOTS || start + name.len() > NAMES {
            self.is_full.set(true);
            return NOWHERE;
        }
        rows.names.extend_from_slice(name);
        rows.used.push(Row {
            slot,
            domain: label.domain,
            gateway: to.gateway,
            next_hop: NextHop {
                adjacency: to.next_hop,
                peer: label.peer,
            },
            start: start as u32,
            // A name has at most 255 bytes.
            length: name.len() as u8,
        });
        let first = First::of(to);
        let filter = &self.filters[first.set];
        filter.set(filter.get() | first.bit);
        let taken = self.at(slot);
        taken.key.set(to.key());
        taken.next_hop.set(to.next_hop);
        slot
    }

    /// Counts a packet that belongs to no prefix.
    #[inline]
    pub(super) fn count_other(&self, bytes: u64, is_request: bool) {
        self.other.add(bytes, is_request);
    }

    /// For what packets with this name are counted that name their gateway themselves.
    #[inline]
    pub(super) fn known(&self, domain: Domain, name: Name<'_>, gateway: NodeId) -> Known<'_> {
        let hash = hash(&self.key, domain, name.as_bytes(), gateway);
        Known {
            place: &self.known[(hash >> 32) as usize % KNOWN],
            hash,
            gateway,
        }
    }

    /// A call to `to` was answered after so many cycles.
    pub(super) fn latency(&self, to: Target, label: Label<'_>, cycles: u64) {
        // Who was turned away is so as a whole, calls and their latencies.
        let slot = match self.is_full.get() && !self.has(First::of(to)) {
            true => NOWHERE,
            false => self.slot(to, || Some(label)),
        };
        let room = self.rows.try_borrow_mut().ok();
        let room = room.filter(|rows| slot != NOWHERE && rows.samples.len() < SAMPLES);
        match room {
            Some(mut rows) => {
                rows.samples.push(Sample { slot, cycles });
                bump(&self.answers.matched);
            }
            None => bump(&self.answers.crowded),
        }
    }

    /// Everything by prefix, member and next hop.
    pub fn sums(&self) -> Vec<Counted> {
        let rows = self.rows.borrow();
        let all = rows.used.iter().map(|row| Counted {
            domain: row.domain,
            name: rows.name(row).to_vec(),
            gateway: row.gateway,
            next_hop: row.next_hop,
            sum: self.at(row.slot).sum(),
        });
        all.collect()
    }

    /// Cycles from request to response of calls to prefixes.
    pub fn latencies(&self) -> Vec<(Domain, Vec<u8>, u64)> {
        let rows = self.rows.borrow();
        if rows.samples.is_empty() {
            return Vec::new();
        }
        let mut by_slot = vec![None; SLOTS];
        for row in &rows.used {
            by_slot[usize::from(row.slot)] = Some(row);
        }
        let of = |sample: &Sample| {
            let row = by_slot.get(usize::from(sample.slot)).copied().flatten()?;
            Some((row.domain, rows.name(row).to_vec(), sample.cycles))
        };
        rows.samples.iter().filter_map(of).collect()
    }

    /// What found no room.
    pub fn other(&self) -> Sum {
        self.other.sum()
    }

    /// What became of the calls that were looked out for.
    pub fn answers(&self) -> Answers {
        let AnswerCells {
            matched,
            unmatched,
            unanswered,
            crowded,
        } = &self.answers;
        Answers {
            matched: matched.get(),
            unmatched: unmatched.get(),
            unanswered: unanswered.get(),
            crowded: crowded.get(),
            told: 0,
        }
    }

    /// Empties it, for the next span.
    pub fn clear(&mut self) {
        let rows = self.rows.get_mut();
        for row in rows.used.drain(..) {
            let at = usize::from(row.slot);
            self.sets[at / WAYS].0[at % WAYS].clear();
        }
        rows.names.clear();
        rows.samples.clear();
        self.filters.iter().for_each(|filter| filter.set(0));
        self.is_full.set(false);
        for place in &self.known {
            place.hash.set(0);
        }
        self.other.clear();
        self.answers = AnswerCells::default();
    }
}

impl Rows {
    fn name(&self, row: &Row) -> &[u8] {
        let start = row.start as usize;
        let name = self.names.get(start..start + usize::from(row.length));
        name.unwrap_or_default()
    }
}

/// For what a name that needs no look-up is counted, and by which topology its packets go, as far as that is known.
pub struct Known<'a> {
    place: &'a Place,
    hash: u64,
    gateway: NodeId,
}

impl Known<'_> {
    /// Whether anything is known.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.place.hash.get() == self.hash
    }

    /// Whether a flow goes by delay to the gateway that was named.
    #[inline]
    pub fn is_by_delay(&self, flow: FlowLabel) -> bool {
        self.place.by_delay.get().takes(flow)
    }

    /// Remembers for what packets like this one are counted, for the rest of the span. `found`: the longest prefix of the name, and how many of its flows
    /// go to the gateway by delay.
    #[cold]
    pub(super) fn learn(&self, found: Option<(&PrefixMatch, DelayShare)>) {
        let place = self.place;
        place.hash.set(self.hash);
        place.record.set(found.map(|(found, _)| found.record));
        place
            .components
            .set(found.map_or(0, |(found, _)| found.components));
        place
            .by_delay
            .set(found.map_or(DelayShare::NONE, |(_, share)| share));
    }

    /// What a packet is counted for that leaves over `next_hop`, and of how many components its prefix is; `None`: as other.
    #[inline]
    pub(super) fn target(&self, next_hop: AdjacencyId) -> Option<(Target, u8)> {
        let to = Target {
            record: self.place.record.get()?,
            gateway: self.gateway,
            next_hop,
        };
        Some((to, self.place.components.get()))
    }
}

/// With a key that nobody outside knows: names must not be made to be taken for those of others. Never 0.
#[inline]
fn hash(key: &DefaultHashBuilder, domain: Domain, name: &[u8], gateway: NodeId) -> u64 {
    key.hash_one((u64::from(domain.0) << 32 | u64::from(gateway.0), name)) | 1
}
