//! The name table: longest-prefix match on component boundaries over all domains in one hash table
//! (design §4.3, §5). How names are looked up is in [`crate::lookup`], how a transaction changes it in [`crate::draft`].

use std::sync::{Arc, Mutex};

use dmsc_wire::{Domain, Name, NameBuf};

use crate::blocks::Blocks;
use crate::hash::{HashKey, MAX_COMPONENTS, WINDOW, hash_name};
use crate::idmap::IdMap;
use crate::index::Index;
use crate::ledger::{Era, Ledger};
use crate::page::{BucketBlock, FilterBlock, NamePage};
use crate::records::{self, Units};
use crate::{GroupId, LocalSetId, RecordId};

/// What a prefix maps to. With neither, packets that match it have no route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrefixValue {
    /// The gateways that serve it.
    pub group: Option<GroupId>,
    /// The attachments of this gateway that serve it.
    pub local: Option<LocalSetId>,
}

impl PrefixValue {
    /// Served by a group of gateways only.
    pub fn group(group: GroupId) -> Self {
        Self {
            group: Some(group),
            local: None,
        }
    }

    /// Served by attachments of this gateway only.
    pub fn local(local: LocalSetId) -> Self {
        Self {
            group: None,
            local: Some(local),
        }
    }
}

/// The longest prefix of a name that is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    /// What it maps to.
    pub value: PrefixValue,
    /// How many components it has.
    pub components: u8,
    /// Where its record lies.
    pub record: RecordId,
}

/// One name to look up.
#[derive(Clone, Copy, Debug)]
pub struct LookupKey<'a> {
    /// The caller's tenant.
    pub domain: Domain,
    /// The name that is called.
    pub name: Name<'a>,
    /// The name and what lies behind it.
    pub(crate) window: Option<&'a [u8; WINDOW]>,
}

impl<'a> LookupKey<'a> {
    /// A name of which only its own bytes may be read.
    #[inline]
    pub fn new(domain: Domain, name: Name<'a>) -> Self {
        Self {
            domain,
            name,
            window: None,
        }
    }

    /// A name within a packet, of which `rest` is what begins with the name. With 64 bytes or more of it, names of up
    /// to 64 bytes are looked up without a copy. If `rest` begins elsewhere, it is not used.
    #[inline]
    pub fn in_packet(domain: Domain, name: Name<'a>, rest: &'a [u8]) -> Self {
        let is_its = std::ptr::eq(rest.as_ptr(), name.as_bytes().as_ptr());
        let window = rest.first_chunk().filter(|_| is_its);
        Self {
            domain,
            name,
            window,
        }
    }
}

/// A prefix, for dumps.
#[derive(Clone, Debug)]
pub struct PrefixEntry {
    /// The domain that it is visible in.
    pub domain: Domain,
    /// The prefix.
    pub name: NameBuf,
    /// What it maps to.
    pub value: PrefixValue,
    /// Where its record lies.
    pub record: RecordId,
}

/// How many prefixes a domain has of each number of components, so that absent ones are not probed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Depths {
    /// Prefixes of one component, of two, and so on.
    pub(crate) counts: [u32; MAX_COMPONENTS],
    /// Bit i: there are prefixes of i + 1 components.
    pub(crate) present: u16,
}

impl Depths {
    /// Counts one prefix of so many components more or less.
    pub(crate) fn change(&mut self, components: usize, by: i32) {
        let count = &mut self.counts[components - 1];
        *count = count.saturating_add_signed(by);
        let bit = 1 << (components - 1);
        self.present = if *count == 0 {
            self.present & !bit
        } else {
            self.present | bit
        };
    }
}

/// Blocks of a chunk: 2 MiB of each, one huge page.
const FILTER_CHUNK: usize = if cfg!(miri) { 16 } else { 8192 };
const BUCKET_CHUNK: usize = if cfg!(miri) { 16 } else { 1024 };

/// Where all pages are.
#[derive(Clone)]
pub(crate) struct Pages {
    filters: Blocks<FilterBlock, FILTER_CHUNK>,
    buckets: Blocks<BucketBlock, BUCKET_CHUNK>,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self {
            filters: Blocks::new(),
            buckets: Blocks::new(),
        }
    }

    /// Pages that there is room for.
    pub(crate) fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Makes room for more.
    pub(crate) fn grow(&mut self) {
        self.buckets.grow();
        if self.filters.len() < self.buckets.len() {
            self.filters.grow();
        }
    }

    /// The filters of a page.
    #[inline(always)]
    pub(crate) fn filters(&self, page: u32) -> &FilterBlock {
        self.filters.at(page)
    }

    /// A page.
    #[inline(always)]
    pub(crate) fn at(&self, page: u32) -> NamePage<'_> {
        NamePage {
            filters: self.filters.at(page),
            buckets: self.buckets.at(page),
        }
    }
}

/// One generation of the table.
#[derive(Clone)]
pub(crate) struct NameTable {
    pub(crate) key: HashKey,
    pub(crate) index: Index,
    pub(crate) pages: Pages,
    pub(crate) units: Units,
    pub(crate) domains: IdMap<Depths>,
    pub(crate) len: usize,
    /// Units that the records have.
    pub(crate) record_units: usize,
    /// Pages that are not empty, or were not.
    pub(crate) page_count: usize,
    /// What all generations share to be written; whoever takes it leaves `None`.
    pub(crate) ledger: Arc<Mutex<Option<Box<Ledger>>>>,
    pub(crate) era: Arc<Era>,
}

impl NameTable {
    pub(crate) fn new(key: HashKey) -> Self {
        let (mut ledger, era) = Ledger::new();
        let page = ledger.first_page();
        Self {
            key,
            index: Index::new(page),
            pages: ledger.pages.clone(),
            units: ledger.units.clone(),
            domains: IdMap::new(),
            len: 0,
            record_units: 0,
            page_count: 1,
            ledger: Arc::new(Mutex::new(Some(Box::new(ledger)))),
            era,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that this generation reaches.
    pub(crate) fn bytes(&self) -> usize {
        self.index.bytes()
            + self.page_count * (size_of::<FilterBlock>() + size_of::<BucketBlock>())
            + self.record_units * size_of::<u64>()
            + self.domains.bytes()
    }

    /// The page of this hash.
    #[inline(always)]
    pub(crate) fn page(&self, hash: u32) -> NamePage<'_> {
        self.pages.at(self.index.page(hash))
    }

    /// Which numbers of components the domain has prefixes of, as bits.
    #[inline(always)]
    pub(crate) fn depths(&self, domain: Domain) -> u16 {
        self.domains
            .get(domain.0)
            .map_or(0, |depths| depths.present)
    }

    /// The record of exactly this prefix.
    pub(crate) fn find(&self, domain: Domain, name: Name<'_>) -> Option<RecordId> {
        let name = name.as_bytes();
        self.find_hashed(domain, name, hash_name(self.key, domain, name))
    }

    /// [`NameTable::find`] with the name's hash.
    pub(crate) fn find_hashed(&self, domain: Domain, name: &[u8], hash: u32) -> Option<RecordId> {
        let is_it = |id| records::is(&self.units, id, domain, name);
        self.page(hash).find(hash, is_it).map(RecordId)
    }

    /// The value of a record.
    pub(crate) fn value(&self, id: RecordId) -> PrefixValue {
        records::at(&self.units, id.0).value()
    }

    /// The value of exactly this prefix.
    pub(crate) fn get(&self, domain: Domain, name: Name<'_>) -> Option<PrefixValue> {
        self.find(domain, name).map(|id| self.value(id))
    }

    /// Where its entry is or would be, in the order of pages.
    pub(crate) fn place(&self, domain: Domain, name: Name<'_>) -> u32 {
        hash_name(self.key, domain, name.as_bytes())
    }

    /// Every page once.
    pub(crate) fn pages(&self) -> impl Iterator<Item = NamePage<'_>> {
        let mut last = None;
        let entries = self.index.entries();
        let pages = entries.filter(move |page| last.replace(*page) != Some(*page));
        pages.map(|page| self.pages.at(page))
    }

    /// All prefixes, in no order that means anything.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = PrefixEntry> {
        let entries = self.pages().flat_map(NamePage::entries);
        entries.filter_map(|(_, id)| self.prefix(RecordId(id)))
    }

    /// The prefix that a lookup found in this generation.
    pub(crate) fn prefix(&self, record: RecordId) -> Option<PrefixEntry> {
        let (domain, value, name) = records::read(&self.units, record.0)?;
        Some(PrefixEntry {
            domain,
            name,
            value,
            record,
        })
    }
}
