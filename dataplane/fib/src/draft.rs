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
const WAITING: usize = 4 << 20;

/// The table was full: 256 names have the same hash. Cannot happen by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

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

    /// Adds a prefix or changes its value; returns the value that it had.
    pub(crate) fn put(
        &mut self,
        domain: Domain,
        name: Name<'_>,
        value: PrefixValue,
    ) -> Result<Option<PrefixValue>, TableFull> {
        let bytes = name.as_bytes();
        let hash = hash_name(self.table.key, domain, bytes);
        if let Some(RecordId(old)) = self.table.find_hashed(domain, bytes, hash) {
            let before = self.table.value(RecordId(old));
            if before != value {
                let new = self.write(domain, bytes, value);
                let page = self.own_page(hash);
                self.table.pages.at(page).replace(hash, old, new);
                self.retire(old, bytes.len());
            }
            return Ok(Some(before));
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
        Ok(None)
    }

    /// Removes a prefix; returns the value that it had.
    pub(crate) fn remove(&mut self, domain: Domain, name: Name<'_>) -> Option<PrefixValue> {
        let bytes = name.as_bytes();
        let hash = hash_name(self.table.key, domain, bytes);
        let id = self.table.find_hashed(domain, bytes, hash)?;
        let value = self.table.value(id);
        let page = self.own_page(hash);
        self.table.pages.at(page).remove(hash, id.0);
        self.ledger.count(page, -1);
        self.retire(id.0, bytes.len());
        self.count(domain, name, -1);
        self.table.len -= 1;
        Some(value)
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
        let _ = draft.put(prefix.domain, prefix.name.as_name(), prefix.value);
    }
    draft.commit()
}
