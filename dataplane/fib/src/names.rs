//! The name table: longest-prefix match on component boundaries over all domains in one hash table
//! (design §4.3, §5).

use arrayvec::ArrayVec;
use dmsc_wire::{Domain, Name};

use crate::directory::Directory;
use crate::hash::{HashKey, MAX_COMPONENTS, Padded, for_prefixes, hash_name};
use crate::idmap::IdMap;
use crate::page::{NamePage, SPLIT};
use crate::raw;
use crate::records::{Record, Records};
use crate::{GroupId, LocalSetId, RecordId};

/// Most keys of one [`crate::Fib::lookup_burst`].
pub const MAX_BURST: usize = 32;

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
}

/// How many prefixes a domain has of each number of components, so that absent ones are not probed.
#[derive(Clone, Copy, Default)]
struct Depths {
    counts: [u32; MAX_COMPONENTS],
    /// Bit i: there are prefixes of i + 1 components.
    present: u16,
}

impl Depths {
    fn change(&mut self, components: usize, by: i32) {
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

/// A lookup of one key at one depth.
struct Probe<'a> {
    page: &'a NamePage,
    hash: u32,
    len: u8,
    components: u8,
}

/// The table was full: 512 names have the same hash. Cannot happen by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

/// The table.
#[derive(Clone)]
pub(crate) struct NameTable {
    key: HashKey,
    directory: Directory<NamePage>,
    records: Records,
    domains: IdMap<Depths>,
    len: usize,
}

impl NameTable {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            directory: Directory::new(NamePage::new(0)),
            records: Records::new(),
            domains: IdMap::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.directory.bytes() + self.records.bytes_used() + self.domains.bytes()
    }

    /// The longest match of one name.
    pub(crate) fn lookup(&self, domain: Domain, name: Name<'_>) -> Option<PrefixMatch> {
        let mut probes = ArrayVec::<Probe<'_>, MAX_COMPONENTS>::new();
        let key = LookupKey { domain, name };
        self.probes(&key, self.depths(domain), &mut Padded::new(), |probe| {
            probes.push(probe)
        });
        self.verify(&key, &probes)
    }

    /// The longest matches of up to [`MAX_BURST`] names. The buckets of all depths of all names are asked
    /// for before the first is read, and the records before the first is verified: a burst waits for
    /// memory about twice, not twice per probe.
    pub(crate) fn lookup_burst(&self, keys: &[LookupKey<'_>], out: &mut [Option<PrefixMatch>]) {
        let mut probes = ArrayVec::<Probe<'_>, { MAX_BURST * MAX_COMPONENTS }>::new();
        let mut ends = [0; MAX_BURST];
        let mut padded = Padded::new();
        let mut known: Option<(Domain, u16)> = None;
        for (key, end) in keys.iter().zip(&mut ends) {
            let present = match known {
                Some((domain, present)) if domain == key.domain => present,
                _ => self.depths(key.domain),
            };
            known = Some((key.domain, present));
            self.probes(key, present, &mut padded, |probe| probes.push(probe));
            *end = probes.len();
        }

        // Shorten each key's probes to those up to the longest that may have something.
        let mut hits = [0; MAX_BURST];
        let mut start = 0;
        for (&end, hit) in ends.iter().zip(&mut hits).take(keys.len()) {
            let found = probes[start..end]
                .iter()
                .rposition(|probe| self.peek(probe));
            *hit = found.map_or(start, |at| start + at + 1);
            start = end;
        }

        let mut start = 0;
        for (((key, out), &hit), &end) in keys.iter().zip(out).zip(&hits).zip(&ends) {
            *out = self.verify(key, &probes[start..hit]);
            start = end;
        }
    }

    /// Which numbers of components the domain has prefixes of, as bits.
    #[inline(always)]
    fn depths(&self, domain: Domain) -> u16 {
        self.domains
            .get(domain.0)
            .map_or(0, |depths| depths.present)
    }

    /// The probes of a key, the shortest prefix first; asks for their buckets.
    #[inline(always)]
    fn probes<'a>(
        &'a self,
        key: &LookupKey<'_>,
        present: u16,
        padded: &mut Padded,
        mut each: impl FnMut(Probe<'a>),
    ) {
        let name = key.name.as_bytes();
        for_prefixes(
            self.key,
            key.domain,
            name,
            present,
            padded,
            |components, hash, len| {
                let page = self.directory.page(hash);
                raw::prefetch(page.home(hash));
                each(Probe {
                    page,
                    hash,
                    len,
                    components,
                });
            },
        );
    }

    /// The longest of these probes whose record is the key's.
    #[inline(always)]
    fn verify(&self, key: &LookupKey<'_>, probes: &[Probe<'_>]) -> Option<PrefixMatch> {
        probes.iter().rev().find_map(|probe| {
            let name = key.name.as_bytes().get(..usize::from(probe.len))?;
            let is_it = |id| self.records.is(id, key.domain, name);
            let record = probe.page.find(probe.hash, is_it)?;
            let value = self.records.value(record);
            Some(PrefixMatch {
                value,
                components: probe.components,
                record: RecordId(record),
            })
        })
    }

    /// Whether the bucket of this probe calls for a closer look; asks for the record if so.
    #[inline(always)]
    fn peek(&self, probe: &Probe<'_>) -> bool {
        let bucket = probe.page.home(probe.hash);
        let mask = bucket.matches(probe.hash);
        if mask == 0 {
            return bucket.is_full();
        }
        self.records.prefetch(bucket.record(mask.trailing_zeros()));
        true
    }

    /// The record of exactly this prefix.
    pub(crate) fn find(&self, domain: Domain, name: Name<'_>) -> Option<RecordId> {
        let name = name.as_bytes();
        let hash = hash_name(self.key, domain, name);
        let found = self
            .directory
            .page(hash)
            .find(hash, |id| self.records.is(id, domain, name));
        found.map(RecordId)
    }

    /// The value of exactly this prefix.
    pub(crate) fn get(&self, domain: Domain, name: Name<'_>) -> Option<PrefixValue> {
        self.find(domain, name).map(|id| self.records.value(id.0))
    }

    /// Adds a prefix or changes its value; returns the value that it had.
    pub(crate) fn put(
        &mut self,
        domain: Domain,
        name: Name<'_>,
        value: PrefixValue,
    ) -> Result<Option<PrefixValue>, TableFull> {
        if let Some(id) = self.find(domain, name) {
            let old = self.records.value(id.0);
            if old != value {
                self.records.set_value(id.0, value);
            }
            return Ok(Some(old));
        }
        let hash = hash_name(self.key, domain, name.as_bytes());
        while self.directory.page(hash).used() >= SPLIT && self.directory.split(hash) {}
        let record = self.records.insert(domain, name.as_bytes(), value);
        if !self
            .directory
            .update(hash, |page| page.insert(hash, record))
        {
            self.records.remove(record);
            return Err(TableFull);
        }
        self.count(domain, name, 1);
        self.len += 1;
        Ok(None)
    }

    /// Removes a prefix; returns the value that it had.
    pub(crate) fn remove(&mut self, domain: Domain, name: Name<'_>) -> Option<PrefixValue> {
        let id = self.find(domain, name)?;
        let hash = hash_name(self.key, domain, name.as_bytes());
        let value = self.records.value(id.0);
        self.directory.update(hash, |page| page.remove(hash, id.0));
        self.records.remove(id.0);
        self.count(domain, name, -1);
        self.len -= 1;
        Some(value)
    }

    /// All records, in no order that means anything.
    pub(crate) fn records(&self) -> impl Iterator<Item = (RecordId, Record<'_>)> {
        let ids = self.directory.pages().flat_map(NamePage::entries);
        ids.filter_map(|(_, id)| Some((RecordId(id), self.records.get(RecordId(id))?)))
    }

    /// The record with this id, if a prefix has it.
    pub(crate) fn record(&self, id: RecordId) -> Option<Record<'_>> {
        self.records.get(id)
    }

    fn count(&mut self, domain: Domain, name: Name<'_>, by: i32) {
        let mut depths = self.domains.get(domain.0).copied().unwrap_or_default();
        depths.change(name.component_count(), by);
        if depths.present == 0 {
            self.domains.remove(domain.0);
        } else {
            self.domains.put(domain.0, depths);
        }
    }
}
