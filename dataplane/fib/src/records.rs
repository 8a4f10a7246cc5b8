//! Records of the prefixes: domain, value and name in one piece of whole cache lines, so that a name of
//! up to 50 bytes is verified with one miss. Pages of records are copied on write like those of the
//! table, so a record is written and its lines are used again without any reader noticing.

use dmsc_wire::Domain;

use crate::cow::CowVec;
use crate::names::PrefixValue;
use crate::raw;
use crate::{GroupId, LocalSetId, RecordId};

const LINE: usize = 64;
/// Lines of a page: 4 KiB.
const LINES: usize = 64;
/// Bytes before the name: domain 4, group 4, local set 4, which of the two 1, length of the name 1.
const HEAD: usize = 14;
/// Lines of the longest record.
const MAX_LINES: usize = (HEAD + crate::hash::MAX_NAME).div_ceil(LINE);
const HAS_GROUP: u8 = 1;
const HAS_LOCAL: u8 = 2;
/// End of a list of free records.
const NONE: u32 = u32::MAX;

#[derive(Clone)]
#[repr(C, align(64))]
struct Chunk([u8; LINE * LINES]);

/// One record, borrowed.
pub(crate) struct Record<'a> {
    pub domain: Domain,
    pub value: PrefixValue,
    pub name: &'a [u8],
}

/// All records of one generation.
#[derive(Clone)]
pub(crate) struct Records {
    chunks: CowVec<Chunk>,
    /// First line that was never used.
    end: u32,
    /// Heads of the lists of free records, by their lines less one; the first 4 bytes of a free record
    /// are the next one.
    free: [u32; MAX_LINES],
}

impl Records {
    pub(crate) fn new() -> Self {
        let chunks = CowVec::new(Chunk([0; LINE * LINES]));
        Self {
            chunks,
            end: 0,
            free: [NONE; MAX_LINES],
        }
    }

    /// Whether the record is this name in this domain.
    #[inline(always)]
    pub(crate) fn is(&self, id: u32, domain: Domain, name: &[u8]) -> bool {
        let bytes = self.bytes(id);
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return false;
        };
        u32_at(head, 0) == domain.0 && rest.get(..usize::from(head[13])) == Some(name)
    }

    /// The value of a record.
    #[inline(always)]
    pub(crate) fn value(&self, id: u32) -> PrefixValue {
        let Some(head) = self.bytes(id).first_chunk::<HEAD>() else {
            return PrefixValue::default();
        };
        decode_value(head)
    }

    /// Asks for the first line of a record.
    #[inline(always)]
    pub(crate) fn prefetch(&self, id: u32) {
        raw::prefetch(&self.chunks.get(id as usize / LINES).0[id as usize % LINES * LINE]);
    }

    pub(crate) fn get(&self, id: RecordId) -> Option<Record<'_>> {
        let (head, rest) = self.bytes(id.0).split_first_chunk::<HEAD>()?;
        let name = rest.get(..usize::from(head[13]))?;
        Some(Record {
            domain: Domain(u32_at(head, 0)),
            value: decode_value(head),
            name,
        })
    }

    /// Adds a record; `name` is canonical, so at most 255 bytes.
    pub(crate) fn insert(&mut self, domain: Domain, name: &[u8], value: PrefixValue) -> u32 {
        let id = self.allocate((HEAD + name.len()).div_ceil(LINE));
        let bytes = self.bytes_mut(id);
        bytes[..4].copy_from_slice(&domain.0.to_le_bytes());
        encode_value(bytes, value);
        bytes[13] = name.len() as u8;
        bytes[HEAD..HEAD + name.len()].copy_from_slice(name);
        id
    }

    pub(crate) fn set_value(&mut self, id: u32, value: PrefixValue) {
        encode_value(self.bytes_mut(id), value);
    }

    /// Gives the lines of a record back.
    pub(crate) fn remove(&mut self, id: u32) {
        let name = usize::from(self.bytes(id)[13]);
        self.release(id, (HEAD + name).div_ceil(LINE));
    }

    /// Bytes of all pages and the vector of them.
    pub(crate) fn bytes_used(&self) -> usize {
        (self.end as usize).div_ceil(LINES) * size_of::<Chunk>()
            + self.chunks.len() * size_of::<usize>()
    }

    fn allocate(&mut self, lines: usize) -> u32 {
        let head = self.free[lines - 1];
        if head != NONE {
            self.free[lines - 1] = u32_at(self.bytes(head), 0);
            return head;
        }
        // A record does not cross pages; what is left of one becomes a free record.
        let left = LINES - self.end as usize % LINES;
        if left < lines {
            let rest = self.end;
            self.end += left as u32;
            self.reserve();
            self.release(rest, left);
        }
        let id = self.end;
        self.end += lines as u32;
        self.reserve();
        id
    }

    /// Makes room for every line before `end`.
    fn reserve(&mut self) {
        if self.end as usize > self.chunks.len() * LINES {
            self.chunks.grow(Chunk([0; LINE * LINES]));
        }
    }

    fn release(&mut self, id: u32, lines: usize) {
        let next = self.free[lines - 1];
        self.bytes_mut(id)[..4].copy_from_slice(&next.to_le_bytes());
        self.free[lines - 1] = id;
    }

    #[inline(always)]
    fn bytes(&self, id: u32) -> &[u8] {
        &self.chunks.get(id as usize / LINES).0[id as usize % LINES * LINE..]
    }

    fn bytes_mut(&mut self, id: u32) -> &mut [u8] {
        &mut self.chunks.get_mut(id as usize / LINES).0[id as usize % LINES * LINE..]
    }
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn decode_value(head: &[u8; HEAD]) -> PrefixValue {
    PrefixValue {
        group: (head[12] & HAS_GROUP != 0).then(|| GroupId(u32_at(head, 4))),
        local: (head[12] & HAS_LOCAL != 0).then(|| LocalSetId(u32_at(head, 8))),
    }
}

fn encode_value(bytes: &mut [u8], value: PrefixValue) {
    let PrefixValue { group, local } = value;
    bytes[4..8].copy_from_slice(&group.unwrap_or_default().0.to_le_bytes());
    bytes[8..12].copy_from_slice(&local.unwrap_or_default().0.to_le_bytes());
    let has = |present: bool, bit| if present { bit } else { 0 };
    bytes[12] = has(group.is_some(), HAS_GROUP) | has(local.is_some(), HAS_LOCAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_lengths_come_back_and_their_lines_are_used_again() {
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
            assert_eq!((record.value, records.value(id)), (value(i), value(i)));
            assert!(records.is(id, Domain(i as u32), &name(i)));
            assert!(!records.is(id, Domain(i as u32 + 1), &name(i)));
            assert!(!records.is(id, Domain(i as u32), &name(i)[1..]));
        }
        let bytes = records.bytes_used();
        let old = records.clone();
        ids.iter().for_each(|&id| records.remove(id));
        insert(&mut records);
        assert_eq!(records.bytes_used(), bytes);
        assert!(
            old.is(ids[5], Domain(5), &name(5)),
            "another generation changed"
        );
    }
}
