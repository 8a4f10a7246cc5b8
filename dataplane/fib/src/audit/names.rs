//! The name table of a generation against itself and against the account of its memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::PoisonError;

use dmsc_wire::Domain;

use super::{Fault, Marks, References, same};
use crate::RecordId;
use crate::hash::{MAX_COMPONENTS, hash_name};
use crate::ledger::Ledger;
use crate::lookup::{MAX_BURST, unmarked};
use crate::names::{LookupKey, NameTable, PrefixEntry};
use crate::page::MAX_DEPTH;
use crate::records;

/// Checks one generation; how many of its prefixes refer to each group.
pub(crate) fn audit(table: &NameTable) -> Result<References, Fault> {
    // Held to the end: nobody may begin to write meanwhile. Empty while a transaction is under way.
    let place = table.ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let ledger = place.as_deref();
    let mut reached = Reached::nothing(table);
    let index: Vec<u32> = table.index.entries().collect();
    same(
        "entries of the index",
        1 << table.index.depth(),
        index.len(),
    )?;
    let mut at = 0;
    for run in index.chunk_by(|a, b| a == b) {
        reached.add_page(table, ledger, run[0], at..at + run.len())?;
        at += run.len();
    }
    same("prefixes", table.len, reached.prefixes)?;
    same("pages", table.page_count, reached.pages.count())?;
    same(
        "units of records",
        table.record_units,
        reached.units.count(),
    )?;
    reached.audit_depths(table)?;
    if let Some(ledger) = ledger {
        ledger.audit(&table.era, &reached.pages, &reached.units)?;
    }
    Ok(reached.references)
}

/// What a generation reaches, as far as the walk has come.
struct Reached {
    pages: Marks,
    /// Of records.
    units: Marks,
    prefixes: usize,
    /// Prefixes of each domain by number of components.
    depths: HashMap<Domain, [u32; MAX_COMPONENTS]>,
    references: References,
}

impl Reached {
    fn nothing(table: &NameTable) -> Self {
        Self {
            pages: Marks::new(table.pages.len()),
            units: Marks::new(table.units.len()),
            prefixes: 0,
            depths: HashMap::new(),
            references: HashMap::new(),
        }
    }

    /// Adds the page that these entries of the index have.
    fn add_page(
        &mut self,
        table: &NameTable,
        ledger: Option<&Ledger>,
        page: u32,
        entries: Range<usize>,
    ) -> Result<(), Fault> {
        let fault = Fault::Index {
            at: entries.start,
            page,
        };
        let count = entries.len();
        if !count.is_power_of_two()
            || !entries.start.is_multiple_of(count)
            || !self.pages.mark(page as usize)
        {
            return Err(fault);
        }
        let depth = table.index.depth() - count.ilog2() as u8;
        if depth > MAX_DEPTH {
            return Err(fault);
        }
        let its = table.pages.at(page);
        if let Some(record) = its.lost() {
            return Err(Fault::Entry { page, record });
        }
        if let Some(bucket) = its.wrong_filter() {
            return Err(Fault::Filter { page, bucket });
        }
        let mut prefixes = Vec::new();
        for (hash, record) in its.entries() {
            if table.index.page(hash) != page {
                return Err(Fault::Entry { page, record });
            }
            prefixes.push(self.add_record(table, hash, record)?);
        }
        look_up(table, &prefixes)?;
        self.prefixes += prefixes.len();
        let Some(ledger) = ledger else { return Ok(()) };
        let leaf = ledger.known_leaf(page, &table.era).ok_or(fault.clone())?;
        if leaf.depth != depth {
            return Err(fault);
        }
        same("entries of a page", leaf.used.into(), prefixes.len())
    }

    /// Adds a record that an entry with this hash is of.
    fn add_record(
        &mut self,
        table: &NameTable,
        hash: u32,
        record: u32,
    ) -> Result<PrefixEntry, Fault> {
        let prefix = table
            .prefix(RecordId(record))
            .ok_or(Fault::Record(record))?;
        let name = prefix.name.as_bytes();
        if hash_name(table.key, prefix.domain, name) != hash {
            return Err(Fault::Record(record));
        }
        let units = records::units(name.len());
        let end = record as usize + units;
        // In one chunk, and not in what may be read behind its last record.
        if record as usize % records::CHUNK + units > records::ROOM
            || !(record as usize..end).all(|unit| self.units.mark(unit))
        {
            return Err(Fault::Record(record));
        }
        let depths = self.depths.entry(prefix.domain).or_default();
        depths[prefix.name.as_name().component_count() - 1] += 1;
        if let Some(group) = prefix.value.group {
            *self.references.entry(group).or_default() += 1;
        }
        Ok(prefix)
    }

    fn audit_depths(&self, table: &NameTable) -> Result<(), Fault> {
        table.domains.audit("domains")?;
        for (id, depths) in table.domains.iter() {
            let domain = Domain(id);
            let found = self.depths.get(&domain).copied().unwrap_or_default();
            let bits = found
                .iter()
                .rev()
                .fold(0, |bits, &count| bits << 1 | u16::from(count > 0));
            if depths.counts != found || depths.present != bits || bits == 0 {
                return Err(Fault::Depths(domain));
            }
        }
        same("domains", table.domains.len(), self.depths.len())
    }
}

/// Looks prefixes up as a worker would: each has to be found, and not another one of the same name.
fn look_up(table: &NameTable, prefixes: &[PrefixEntry]) -> Result<(), Fault> {
    for prefixes in prefixes.chunks(MAX_BURST) {
        let keys: Vec<LookupKey<'_>> = prefixes
            .iter()
            .map(|prefix| LookupKey::new(prefix.domain, prefix.name.as_name()))
            .collect();
        let mut found = [None; MAX_BURST];
        table.lookup_burst(&mut Default::default(), &keys, &mut found, unmarked);
        for (prefix, found) in prefixes.iter().zip(found) {
            let is_it = found.is_some_and(|found| {
                found.record == prefix.record
                    && found.value == prefix.value
                    && usize::from(found.components) == prefix.name.as_name().component_count()
            });
            if !is_it {
                return Err(Fault::Lookup {
                    domain: prefix.domain,
                    name: prefix.name.clone(),
                });
            }
        }
    }
    Ok(())
}
