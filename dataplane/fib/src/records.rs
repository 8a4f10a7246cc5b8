//! Records of the prefixes: domain, value and name in one piece. Pages of records are copied on write like those of
//! the table, so a record is written and its bytes are used again without any reader noticing.
//!
//! Records lie end to end, rounded up to 8 bytes, whether they cross cache lines or not: the lines of one are asked for
//! together, and neighbouring lines cost hardly more than one.

use dmsc_wire::Domain;

use crate::cow::CowVec;
use crate::hash::{MAX_NAME, WINDOW};
use crate::names::PrefixValue;
use crate::raw;
use crate::{GroupId, LocalSetId, RecordId};

/// Records start at multiples of this, which an id counts.
const UNIT: usize = 8;
/// Units of a page: 16 KiB, so that the list of a million records' pages is 27 KB and stays in the cache.
const UNITS: usize = 2048;
/// Units of a page that records may have; what lies behind them may be read with the last record.
const USED: usize = UNITS - WINDOW / UNIT;
/// Bytes before the name: length of the name 1, which of the two values 1, domain 4, group 4, local set 4.
const HEAD: usize = 14;
/// Units of the longest record.
const MAX_UNITS: usize = (HEAD + MAX_NAME).div_ceil(UNIT);
const HAS_GROUP: u8 = 1;
const HAS_LOCAL: u8 = 2;
/// End of a list of free records.
const NONE: u32 = u32::MAX;

#[derive(Clone)]
#[repr(C, align(64))]
struct Chunk([u8; UNIT * UNITS]);

/// One record, borrowed.
pub(crate) struct Record<'a> {
    pub domain: Domain,
    pub value: PrefixValue,
    pub name: &'a [u8],
}

/// A record where it lies, not yet read.
#[derive(Clone, Copy)]
pub(crate) struct RecordBytes<'a>(&'a [u8]);

impl RecordBytes<'_> {
    /// Whether the record is this name in this domain. `window`, if there is one, starts with the name.
    #[inline(always)]
    pub(crate) fn is(self, domain: Domain, name: &[u8], window: Option<&[u8; WINDOW]>) -> bool {
        let Some((head, rest)) = self.0.split_first_chunk::<HEAD>() else {
            return false;
        };
        if usize::from(head[0]) != name.len() || u32_at(head, 2) != domain.0 {
            return false;
        }
        match (window, rest.first_chunk::<WINDOW>()) {
            (Some(window), Some(stored)) if name.len() <= WINDOW => {
                raw::equal_start(stored, window, name.len())
            }
            _ => rest.get(..name.len()) == Some(name),
        }
    }

    /// The value of a record.
    #[inline(always)]
    pub(crate) fn value(self) -> PrefixValue {
        let Some(head) = self.0.first_chunk::<HEAD>() else {
            return PrefixValue::default();
        };
        decode_value(head)
    }

    /// Asks for a record whose name has `len` bytes, up to the second cache line of it.
    #[inline(always)]
    pub(crate) fn prefetch(self, len: usize) {
        let bytes = self.0;
        raw::prefetch(&bytes[0]);
        if let Some(end) = bytes.get(HEAD + len.clamp(32, WINDOW) - 1) {
            raw::prefetch(end);
        }
    }
}

/// All records of one generation.
#[derive(Clone)]
pub(crate) struct Records {
    chunks: CowVec<Chunk>,
    /// First unit that was never used.
    end: u32,
    /// Heads of the lists of free records, by their units less one; the first 4 bytes of a free record
    /// are the next one.
    free: [u32; MAX_UNITS],
}

impl Records {
    pub(crate) fn new() -> Self {
        let chunks = CowVec::new(Chunk([0; UNIT * UNITS]));
        Self {
            chunks,
            end: 0,
            free: [NONE; MAX_UNITS],
        }
    }

    /// The record with this id.
    #[inline(always)]
    pub(crate) fn at(&self, id: u32) -> RecordBytes<'_> {
        RecordBytes(self.bytes(id))
    }

    pub(crate) fn get(&self, id: RecordId) -> Option<Record<'_>> {
        let (head, rest) = self.bytes(id.0).split_first_chunk::<HEAD>()?;
        let name = rest.get(..usize::from(head[0]))?;
        Some(Record {
            domain: Domain(u32_at(head, 2)),
            value: decode_value(head),
            name,
        })
    }

    /// Adds a record; `name` is canonical, so at most 255 bytes.
    pub(crate) fn insert(&mut self, domain: Domain, name: &[u8], value: PrefixValue) -> u32 {
        let id = self.allocate(units(name.len()));
        let bytes = self.bytes_mut(id);
        bytes[0] = name.len() as u8;
        bytes[2..6].copy_from_slice(&domain.0.to_le_bytes());
        encode_value(bytes, value);
        bytes[HEAD..HEAD + name.len()].copy_from_slice(name);
        id
    }

    pub(crate) fn set_value(&mut self, id: u32, value: PrefixValue) {
        encode_value(self.bytes_mut(id), value);
    }

    /// Gives the room of a record back.
    pub(crate) fn remove(&mut self, id: u32) {
        let name = usize::from(self.bytes(id)[0]);
        self.release(id, units(name));
    }

    /// Bytes of all pages and the vector of them.
    pub(crate) fn bytes_used(&self) -> usize {
        (self.end as usize).div_ceil(UNITS) * size_of::<Chunk>()
            + self.chunks.len() * size_of::<usize>()
    }

    fn allocate(&mut self, units: usize) -> u32 {
        let head = self.free[units - 1];
        if head != NONE {
            self.free[units - 1] = u32_at(self.bytes(head), 0);
            return head;
        }
        // A record does not cross pages; what is left of one becomes a free record.
        let left = USED - self.end as usize % UNITS;
        if left < units {
            let rest = self.end;
            self.end = (self.end as usize).next_multiple_of(UNITS) as u32;
            if left > 0 {
                self.release(rest, left);
            }
        }
        let id = self.end;
        self.end += units as u32;
        if self.end as usize > self.chunks.len() * UNITS {
            self.chunks.grow(Chunk([0; UNIT * UNITS]));
        }
        id
    }

    fn release(&mut self, id: u32, units: usize) {
        let next = self.free[units - 1];
        self.bytes_mut(id)[..4].copy_from_slice(&next.to_le_bytes());
        self.free[units - 1] = id;
    }

    #[inline(always)]
    fn bytes(&self, id: u32) -> &[u8] {
        &self.chunks.get(id as usize / UNITS).0[id as usize % UNITS * UNIT..]
    }

    fn bytes_mut(&mut self, id: u32) -> &mut [u8] {
        &mut self.chunks.get_mut(id as usize / UNITS).0[id as usize % UNITS * UNIT..]
    }
}

/// Units of a record whose name has `len` bytes.
fn units(len: usize) -> usize {
    (HEAD + len).div_ceil(UNIT)
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn decode_value(head: &[u8; HEAD]) -> PrefixValue {
    PrefixValue {
        group: (head[1] & HAS_GROUP != 0).then(|| GroupId(u32_at(head, 6))),
        local: (head[1] & HAS_LOCAL != 0).then(|| LocalSetId(u32_at(head, 10))),
    }
}

fn encode_value(bytes: &mut [u8], value: PrefixValue) {
    let PrefixValue { group, local } = value;
    bytes[6..10].copy_from_slice(&group.unwrap_or_default().0.to_le_bytes());
    bytes[10..14].copy_from_slice(&local.unwrap_or_default().0.to_le_bytes());
    let has = |present: bool, bit| if present { bit } else { 0 };
    bytes[1] = has(group.is_some(), HAS_GROUP) | has(local.is_some(), HAS_LOCAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_lengths_come_back_and_their_room_are_used_again() {
        let mut records = Records::new();
        let name = |i: usize| vec![i as u8; 1 + i * 7 % 255];
        let value = |i: usize| PrefixValue {
            group: i.is_multiple_of(2).then_some(GroupId(i as u32)),
            local: i.is_multiple_of(3).then_some(LocalSetId(i as u32)),
        };
        let insert = |records: &mut Records| -> Vec<u32> {
            (0..9000)
                .map(|i| records.insert(Domain(i as u32), &name(i), value(i)))
                .collect()
        };
        let ids = insert(&mut records);
        for (i, &id) in ids.iter().enumerate() {
            let record = records.get(RecordId(id)).unwrap();
            assert_eq!(
                (record.domain, record.name),
                (Domain(i as u32), &name(i)[..])
            );
            assert_eq!((record.value, records.at(id).value()), (value(i), value(i)));
            let (domain, stored) = (Domain(i as u32), name(i));
            let mut window = [0x77; WINDOW];
            let short = stored.len().min(WINDOW);
            window[..short].copy_from_slice(&stored[..short]);
            for window in [None, Some(&window)] {
                assert!(records.at(id).is(domain, &stored, window));
                assert!(!records.at(id).is(Domain(i as u32 + 1), &stored, window));
                let shorter = &stored[..stored.len() - 1];
                assert!(!records.at(id).is(domain, shorter, window));
            }
            let mut other = stored.clone();
            *other.last_mut().unwrap() ^= 1;
            assert!(!records.at(id).is(domain, &other, None));
        }
        let bytes = records.bytes_used();
        let old = records.clone();
        ids.iter().for_each(|&id| records.remove(id));
        insert(&mut records);
        assert_eq!(records.bytes_used(), bytes);
        assert!(
            old.at(ids[5]).is(Domain(5), &name(5), None),
            "another generation changed"
        );
    }
}
