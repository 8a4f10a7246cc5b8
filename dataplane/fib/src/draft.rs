//! The next generation of the name table while a transaction makes it.

use std::sync::{Arc, PoisonError};

use dmsc_wire::{Domain, Name};

use crate::RecordId;
use crate::hash::hash_name;
use crate::ledger::{Era, Leaf, Ledger};
use crate::names::{NameTable, PrefixValue};
use crate::page::{MAX_DEPTH, SPLIT};
use crate::records;

/// Units of records that may wait for generations which somebody keeps, beside as many as a quarter of the table has. Beyond, the table moves
/// to fresh memory, and what was kept goes with its keeper.
const WAITING: usize = if cfg!(test) { 1 << 20 } else { 4 << 20 };

/// The table was full: 256 names have the same hash. Cannot happen by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

/// Where a name is in a draft, and what it maps to, if it is there.
pub(crate) struct Spot {
    hash: u32,
    present: Option<(RecordId, PrefixValue)>,
}

impl Spot {
    /// What the name maps to.
    pub(crate) fn before(&self) -> Option<PrefixValue> {
        self.present.map(|(_, value)| value)
    }
}

/// The next generation. It ends with [`NameDraft::commit`] or [`NameDraft::abandon`].
pub(crate) struct NameDraft {
    table: NameTable,
    before: Arc<Era>,
    ledger: Box<Ledger>,
}

impl NameDraft {
    /// A draft that has what `table` has. Costs a few reference counts if `table` is the newest generation, as it is but in tests; else,
    /// or if so much memory waits for old generations, a copy of it all.
    pub(crate) fn of(table: &NameTable) -> Self {
        let mut place = table.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fit = |ledger: &mut Box<Ledger>| {
            let waiting = ledger.waiting_units();
            ledger.is_newest(&table.era) && waiting < WAITING + ledger.used_units() / 4
        };
        let Some(mut ledger) = place.take_if(is_fit) else {
            drop(place);
            return Self::of(&copied(table));
        };
        drop(place);
        ledger.begin();
        let mut table = table.clone();
        (table.pages, table.units) = (ledger.pages.clone(), ledger.units.clone());
        Self {
            before: Arc::clone(&table.era),
            table,
            ledger,
        }
    }

    /// The generation.
    pub(crate) fn commit(mut self) -> NameTable {
        self.table.era = self.ledger.commit(&self.before);
        self.hand_back()
    }

    /// Nothing of it was.
    pub(crate) fn abandon(mut self) {
        self.ledger.abandon();
        self.hand_back();
    }

    fn hand_back(self) -> NameTable {
        let mut place = self
            .table
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(self.ledger);
        drop(place);
        self.table
    }

    /// Where a name is, or would be, until the draft is changed again.
    pub(crate) fn find(&self, domain: Domain, name: Name<'_>) -> Spot {
        let hash = hash_name(self.table.key, domain, name.as_bytes());
        let record = self.table.find_hashed(domain, name.as_bytes(), hash);
        Spot {
            hash,
            present: record.map(|id| (id, self.table.value(id))),
        }
    }

    /// Adds a prefix or changes its value.
    pub(crate) fn put_at(
        &mut self,
        spot: Spot,
        domain: Domain,
        name: Name<'_>,
        value: PrefixValue,
    ) -> Result<(), TableFull> {
        let (bytes, hash) = (name.as_bytes(), spot.hash);
        if let Some((RecordId(old), before)) = spot.present {
            if before != value {
                let new = self.write(domain, bytes, value);
                let page = self.own_page(hash);
                self.table.pages.at(page).replace(hash, old, new);
                self.retire(old, bytes.len());
            }
            return Ok(());
        }
        while self.leaf(hash).used >= SPLIT && self.split(hash) {}
        let record = self.write(domain, bytes, value);
        let page = self.own_page(hash);
        if !self.table.pages.at(page).insert(hash, record) {
            self.retire(record, bytes.len());
            return Err(TableFull);
        }
        self.ledger.count(page, 1);
        self.count(domain, name, 1);
        self.table.len += 1;
        Ok(())
    }

    /// Removes a prefix, if it is there.
    pub(crate) fn remove_at(&mut self, spot: Spot, domain: Domain, name: Name<'_>) {
        let Some((id, _)) = spot.present else { return };
        let (bytes, hash) = (name.as_bytes(), spot.hash);
        let page = self.own_page(hash);
        self.table.pages.at(page).remove(hash, id.0);
        self.ledger.count(page, -1);
        self.retire(id.0, bytes.len());
        self.count(domain, name, -1);
        self.table.len -= 1;
    }

    fn write(&mut self, domain: Domain, name: &[u8], value: PrefixValue) -> u32 {
        let units = records::units(name.len());
        let record = self.ledger.take_room(units);
        if self.table.units.len() < self.ledger.units.len() {
            self.table.units = self.ledger.units.clone();
        }
        records::write(&self.table.units, record, domain, name, value);
        self.table.record_units += units;
        record
    }

    fn retire(&mut self, record: u32, len: usize) {
        let units = records::units(len);
        self.ledger.retire_room(record, units);
        self.table.record_units -= units;
    }

    fn leaf(&self, hash: u32) -> Leaf {
        self.ledger.leaf(self.table.index.page(hash))
    }

    /// The page of this hash, for this transaction alone.
    fn own_page(&mut self, hash: u32) -> u32 {
        let old = self.table.index.page(hash);
        if self.ledger.is_own_page(old) {
            return old;
        }
        let Leaf { used, depth, .. } = self.ledger.leaf(old);
        let new = self.take_page(used, depth);
        let pages = &self.table.pages;
        pages.at(new).copy(pages.at(old));
        self.table.index.set(hash, depth, new);
        self.ledger.retire_page(old);
        new
    }

    fn take_page(&mut self, used: u16, depth: u8) -> u32 {
        let page = self.ledger.take_page(used, depth);
        if self.table.pages.len() < self.ledger.pages.len() {
            self.table.pages = self.ledger.pages.clone();
        }
        page
    }

    /// Splits the page of this hash in two, and the index if that tells too few bits apart.
    /// Returns false, and does nothing, at [`MAX_DEPTH`].
    fn split(&mut self, hash: u32) -> bool {
        let old = self.table.index.page(hash);
        let depth = self.ledger.leaf(old).depth;
        if depth == MAX_DEPTH {
            return false;
        }
        if depth == self.table.index.depth() {
            self.table.index.double();
        }
        let halves = [self.take_page(0, depth + 1), self.take_page(0, depth + 1)];
        let pages = halves.map(|page| self.table.pages.at(page));
        pages.iter().for_each(|page| page.clear());
        let counts = self.table.pages.at(old).split(depth, pages);
        let bit = 1 << (31 - depth);
        for ((page, count), hash) in halves
            .into_iter()
            .zip(counts)
            .zip([hash & !bit, hash | bit])
        {
            self.ledger.count(page, count as i16);
            self.table.index.set(hash, depth + 1, page);
        }
        self.ledger.retire_page(old);
        self.table.page_count += 1;
        true
    }

    fn count(&mut self, domain: Domain, name: Name<'_>, by: i32) {
        let domains = &mut self.table.domains;
        let mut depths = domains.get(domain.0).copied().unwrap_or_default();
        depths.change(name.component_count(), by);
        if depths.present == 0 {
            domains.remove(domain.0);
        } else {
            domains.put(domain.0, depths);
        }
    }
}

/// The same table in memory of its own.
fn copied(table: &NameTable) -> NameTable {
    let mut draft = NameDraft::of(&NameTable::new(table.key));
    for prefix in table.prefixes() {
        // It had room in the table that is copied.
        let (domain, name) = (prefix.domain, prefix.name.as_name());
        let _ = draft.put_at(draft.find(domain, name), domain, name, prefix.value);
    }
    draft.commit()
}

#[cfg(test)]
mod tests {
    use dmsc_wire::NameBuf;

    use super::*;
    use crate::hash::HashKey;
    use crate::{LocalSetId, LookupKey};

    const DOMAIN: Domain = Domain(1);
    /// Miri is some thousand times slower.
    const SOME: u32 = if cfg!(miri) { 12 } else { 300 };

    fn name(i: u32) -> NameBuf {
        NameBuf::from_components([format!("a{}", i % 10), format!("b{i}")]).expect("a name")
    }

    fn value(i: u32) -> PrefixValue {
        PrefixValue::local(LocalSetId(i))
    }

    fn put(draft: &mut NameDraft, name: NameBuf, value: PrefixValue) -> Result<(), TableFull> {
        let name = name.as_name();
        draft.put_at(draft.find(DOMAIN, name), DOMAIN, name, value)
    }

    /// `table` with prefixes `from` with the values from `with` on.
    fn with(table: &NameTable, from: std::ops::Range<u32>, with: u32) -> NameTable {
        let mut draft = NameDraft::of(table);
        for i in from {
            put(&mut draft, name(i), value(with + i)).expect("room");
        }
        draft.commit()
    }

    fn has(table: &NameTable, prefixes: std::ops::Range<u32>, with: u32) -> bool {
        assert_eq!(crate::audit::names::audit(table).err(), None);
        let names: Vec<NameBuf> = prefixes.clone().map(name).collect();
        let found = names.iter().zip(prefixes).all(|(name, i)| {
            let key = LookupKey::new(DOMAIN, name.as_name());
            table.lookup(&key).map(|found| found.value) == Some(value(with + i))
        });
        found && table.prefixes().count() == names.len()
    }

    fn memory(table: &NameTable) -> (usize, usize) {
        let ledger = table.ledger.lock().expect("not poisoned");
        let ledger = ledger.as_ref().expect("in its place");
        (ledger.used_units(), ledger.used_pages())
    }

    #[test]
    fn generations_that_are_kept_stay_and_what_others_replaced_is_used_again() {
        let count = if cfg!(miri) { 12 } else { 2_000 };
        let first = with(&NameTable::new(HashKey::fixed([1, 2])), 0..count, 0);
        let mut table = with(&first, 0..count, 1);
        let second = table.clone();
        let mut most = (0, 0);
        for turn in 2..20 {
            table = with(&table, 0..count, turn);
            if turn == 4 {
                most = memory(&table);
            }
        }
        // Pages that two kept generations reach, and two turns of the newest; records of every turn wait for the oldest.
        assert_eq!(memory(&table).1, most.1);
        assert!(has(&first, 0..count, 0) && has(&second, 0..count, 1) && has(&table, 0..count, 19));
        drop(first);
        table = with(&table, 0..count, 20);
        assert!(has(&second, 0..count, 1));
        drop(second);
        table = with(&table, 0..count, 21);
        most = memory(&table);
        for turn in 22..30 {
            table = with(&table, 0..count, turn);
        }
        assert_eq!(memory(&table), most);
        assert!(has(&table, 0..count, 29));
    }

    #[test]
    fn a_transaction_that_is_refused_takes_no_memory() {
        let table = with(&NameTable::new(HashKey::fixed([1, 2])), 0..SOME, 0);
        let mut used = None;
        for _ in 0..5 {
            let mut draft = NameDraft::of(&table);
            for i in 0..SOME {
                let gone = name(i);
                let spot = draft.find(DOMAIN, gone.as_name());
                draft.remove_at(spot, DOMAIN, gone.as_name());
                let _ = put(&mut draft, name(1_000 + i), value(i));
            }
            draft.abandon();
            assert_eq!(*used.get_or_insert(memory(&table)), memory(&table));
        }
        assert!(has(&table, 0..SOME, 0));
    }

    #[test]
    fn from_an_old_generation_the_table_goes_on_elsewhere() {
        let old = with(&NameTable::new(HashKey::fixed([1, 2])), 0..SOME, 0);
        let new = with(&old, 0..SOME, 1_000);
        let other = with(&old, SOME..2 * SOME, 0);
        let newest = with(&new, SOME..2 * SOME, 1_000);
        let both = NameDraft::of(&newest);
        let beside = with(&newest, 0..SOME, 5); // while another transaction is under way
        both.abandon();
        assert!(has(&old, 0..SOME, 0) && has(&new, 0..SOME, 1_000));
        assert!(has(&other, 0..2 * SOME, 0) && has(&newest, 0..2 * SOME, 1_000));
        assert_eq!(beside.prefixes().count() as u32, 2 * SOME);
    }

    #[test]
    fn who_keeps_a_generation_for_long_does_not_make_memory_grow() {
        if cfg!(miri) {
            return; // millions of records
        }
        let kept = with(&NameTable::new(HashKey::fixed([1, 2])), 0..20_000, 0);
        let mut table = with(&kept, 0..20_000, 1);
        let mut most = 0;
        for turn in 2..120 {
            table = with(&table, 0..20_000, turn);
            most = most.max(memory(&table).0);
        }
        assert!(most < 2 * WAITING, "{most} units of {WAITING}");
        assert!(has(&kept, 0..20_000, 0) && has(&table, 0..20_000, 119));
    }
}
