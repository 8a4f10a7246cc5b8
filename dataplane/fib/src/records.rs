//! Records of the prefixes: domain, value and name in one piece. A record never changes: a prefix with another value
//! is another record.
//!
//! Records lie end to end, rounded up to 8 bytes, whether they cross cache lines or not: the lines of one are asked for
//! together, and neighbouring lines cost hardly more than one.

use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dmsc_wire::{Domain, Name, NameBuf};

use crate::blocks::Blocks;
use crate::hash::{MAX_NAME, WINDOW};
use crate::names::PrefixValue;
use crate::raw;
use crate::{GroupId, LocalSetId};

/// Records start at multiples of this, which their numbers count.
const UNIT: usize = 8;
/// Units of a chunk: 2 MiB, one huge page.
pub(crate) const CHUNK: usize = 1 << if cfg!(miri) { 10 } else { 18 };
/// Units that may be read with a record though they are not of it.
const VIEW: usize = (HEAD + WINDOW).div_ceil(UNIT);
/// Units of a chunk that records may have.
pub(crate) const ROOM: usize = CHUNK - VIEW;
/// Bytes before the name: length of the name 1, which of the two values 1, domain 4, group 4, local set 4.
const HEAD: usize = 14;
/// Units of the longest record.
pub(crate) const MAX_UNITS: usize = (HEAD + MAX_NAME).div_ceil(UNIT);
const HAS_GROUP: u8 = 1;
const HAS_LOCAL: u8 = 2;

/// Where all records are.
pub(crate) type Units = Blocks<AtomicU64, CHUNK>;

/// A record where it lies, not yet read.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a>(&'a [AtomicU64; VIEW]);

static NOTHING: [AtomicU64; VIEW] = [const { AtomicU64::new(0) }; VIEW];

/// The record with this number.
#[inline(always)]
pub(crate) fn at(units: &Units, number: u32) -> Record<'_> {
    match units.from(number).first_chunk() {
        Some(view) => Record(view),
        // No record has such a number.
        None => Record(&NOTHING),
    }
}

/// Units of a record whose name has `len` bytes.
pub(crate) fn units(len: usize) -> usize {
    (HEAD + len).div_ceil(UNIT)
}

/// Writes a record; `name` is canonical, so at most 255 bytes.
pub(crate) fn write(units: &Units, number: u32, domain: Domain, name: &[u8], value: PrefixValue) {
    let mut bytes = [0; MAX_UNITS * UNIT];
    bytes[0] = name.len() as u8;
    let PrefixValue { group, local } = value;
    let has = |present: bool, bit| if present { bit } else { 0 };
    bytes[1] = has(group.is_some(), HAS_GROUP) | has(local.is_some(), HAS_LOCAL);
    bytes[2..6].copy_from_slice(&domain.0.to_le_bytes());
    bytes[6..10].copy_from_slice(&group.unwrap_or_default().0.to_le_bytes());
    bytes[10..HEAD].copy_from_slice(&local.unwrap_or_default().0.to_le_bytes());
    bytes[HEAD..HEAD + name.len()].copy_from_slice(name);
    let (words, _) = bytes[..self::units(name.len()) * UNIT].as_chunks();
    for (unit, word) in units.from(number).iter().zip(words) {
        unit.store(u64::from_le_bytes(*word), Relaxed);
    }
}

/// Domain, value and name of the record with this number; `None` if none was ever there.
pub(crate) fn read(units: &Units, number: u32) -> Option<(Domain, PrefixValue, NameBuf)> {
    if number as usize >= units.len() {
        return None;
    }
    let record = at(units, number);
    let len = record.len();
    let mut bytes = [0; MAX_UNITS * UNIT];
    let name = name_bytes(units, number, len, &mut bytes)?;
    let name = Name::from_bytes(name).ok()?.to_owned();
    Some((record.domain(), record.value(), name))
}

/// Whether the record with this number is this name in this domain.
pub(crate) fn is(units: &Units, number: u32, domain: Domain, name: &[u8]) -> bool {
    let mut bytes = [0; MAX_UNITS * UNIT];
    at(units, number).is_head(domain, name.len())
        && name_bytes(units, number, name.len(), &mut bytes) == Some(name)
}

fn name_bytes<'a>(
    units: &Units,
    number: u32,
    len: usize,
    bytes: &'a mut [u8; MAX_UNITS * UNIT],
) -> Option<&'a [u8]> {
    let stored = units.from(number).get(..self::units(len))?;
    for (word, unit) in bytes.as_chunks_mut::<UNIT>().0.iter_mut().zip(stored) {
        *word = unit.load(Relaxed).to_le_bytes();
    }
    bytes.get(HEAD..HEAD + len)
}

impl Record<'_> {
    fn len(self) -> usize {
        self.0[0].load(Relaxed) as usize & 0xff
    }

    fn domain(self) -> Domain {
        Domain((self.0[0].load(Relaxed) >> 16) as u32)
    }

    /// Whether it has this domain and this length of name.
    #[inline(always)]
    fn is_head(self, domain: Domain, len: usize) -> bool {
        let wanted = u64::from(domain.0) << 16 | len as u64;
        self.0[0].load(Relaxed) & 0xffff_ffff_00ff == wanted
    }

    /// Whether it is this name, of at most [`WINDOW`] bytes, in this domain. `window` starts with the name.
    #[inline(always)]
    pub(crate) fn is_window(self, domain: Domain, len: usize, window: &[u8; WINDOW]) -> bool {
        self.is_head(domain, len) && raw::equal_start(self.0, HEAD, window, len)
    }

    /// The value.
    #[inline(always)]
    pub(crate) fn value(self) -> PrefixValue {
        let (first, second) = (self.0[0].load(Relaxed), self.0[1].load(Relaxed));
        let has = (first >> 8) as u8;
        let group = (first >> 48) as u32 | (second as u32) << 16;
        let local = (second >> 16) as u32;
        PrefixValue {
            group: (has & HAS_GROUP != 0).then_some(GroupId(group)),
            local: (has & HAS_LOCAL != 0).then_some(LocalSetId(local)),
        }
    }

    /// Asks for a record whose name has `len` bytes, up to the second cache line of it.
    #[inline(always)]
    pub(crate) fn prefetch(self, len: usize) {
        // Without jumps, which would depend on names.
        let compared = select_unpredictable(len > 32, len, 32);
        let last = (HEAD + compared - 1) / UNIT;
        raw::prefetch(&self.0[0]);
        raw::prefetch(&self.0[select_unpredictable(last < VIEW, last, VIEW - 1)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_lengths_come_back() {
        let units_ = Units::new();
        let name = |i: usize| {
            let len = 1 + i * 7 % 254;
            let mut name = vec![i as u8; len + 1];
            name[0] = len as u8;
            name
        };
        let value = |i: usize| PrefixValue {
            group: i
                .is_multiple_of(2)
                .then_some(GroupId(0x8765_4321 ^ i as u32)),
            local: i
                .is_multiple_of(3)
                .then_some(LocalSetId(0xfedc_ba98 ^ i as u32)),
        };
        let domain = |i: usize| Domain(0xabcd_ef01 ^ i as u32);
        let mut end = 0;
        let numbers: Vec<u32> = (0..9000)
            .map(|i| {
                let number = end;
                end += units(name(i).len()) as u32;
                write(&units_, number, domain(i), &name(i), value(i));
                number
            })
            .collect();
        for (i, &number) in numbers.iter().enumerate() {
            let (stored_domain, stored_value, stored) = read(&units_, number).unwrap();
            assert_eq!(
                (stored_domain, stored.as_bytes()),
                (domain(i), &name(i)[..])
            );
            assert_eq!(stored_value, value(i));
            let stored = name(i);
            let mut other = stored.clone();
            *other.last_mut().unwrap() ^= 1;
            for (wanted, domain, len, expected) in [
                (&stored, domain(i), stored.len(), true),
                (&stored, domain(i + 1), stored.len(), false),
                (&stored, domain(i), stored.len() - 1, false),
                (&other, domain(i), stored.len(), false),
            ] {
                assert_eq!(is(&units_, number, domain, &wanted[..len]), expected);
                if len <= WINDOW {
                    let mut window = [0x77; WINDOW];
                    window[..len].copy_from_slice(&wanted[..len]);
                    let record = at(&units_, number);
                    assert_eq!(record.is_window(domain, len, &window), expected);
                    assert_eq!(record.value(), value(i));
                }
            }
        }
        assert!(read(&units_, u32::MAX).is_none());
    }
}
