//! Which blocks of a table's memory are free: those that no living generation reaches.
//!
//! Every generation holds a token, its era, and so does whoever keeps a copy of that generation. What a transaction replaces
//! is reached by the generation before it and by older ones only, so it waits in a list with that era, and is free when
//! nobody else holds the era any more. If an old generation is kept, only what that one reaches goes on waiting.

mod audit;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::names::Pages;
use crate::records::{self, MAX_UNITS, ROOM, Units};

/// A generation of one table, by number: a token that lives as long as any copy of it.
#[derive(Debug)]
pub(crate) struct Era(u64);

/// Where a record lies: its first unit, and how many it has.
#[derive(Clone, Copy)]
struct Room {
    first: u32,
    units: u8,
}

/// What a transaction needs to know of a page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leaf {
    /// Era in which it was written.
    born: u64,
    /// Number of entries.
    pub(crate) used: u16,
    /// How many leading bits of the hash all entries share.
    pub(crate) depth: u8,
}

/// What the generations up to an era reach and later ones do not.
struct Retired {
    era: Arc<Era>,
    pages: Vec<u32>,
    rooms: Vec<Room>,
    /// Of all these rooms.
    units: usize,
}

/// What one transaction took and replaced.
#[derive(Default)]
struct Changes {
    taken_pages: Vec<u32>,
    taken_rooms: Vec<Room>,
    retired_pages: Vec<u32>,
    retired_rooms: Vec<Room>,
}

/// The one account of a table's memory. A transaction takes it, so that only one at a time can write.
pub(crate) struct Ledger {
    pub(crate) pages: Pages,
    pub(crate) units: Units,
    /// The newest generation.
    tip: u64,
    /// What is known of each page that was ever used.
    leaves: Vec<Leaf>,
    free_pages: Vec<u32>,
    /// First unit that was never used.
    end: u32,
    /// Free rooms by their units less one.
    free_rooms: [Vec<u32>; MAX_UNITS],
    retired: VecDeque<Retired>,
    changes: Changes,
}

impl Ledger {
    /// Of an empty table, and its first era.
    pub(crate) fn new() -> (Self, Arc<Era>) {
        let ledger = Self {
            pages: Pages::new(),
            units: Units::new(),
            tip: 0,
            leaves: Vec::new(),
            free_pages: Vec::new(),
            end: 0,
            free_rooms: std::array::from_fn(|_| Vec::new()),
            retired: VecDeque::new(),
            changes: Changes::default(),
        };
        (ledger, Arc::new(Era(0)))
    }

    /// The one page of an empty table.
    pub(crate) fn first_page(&mut self) -> u32 {
        let page = self.take_page(0, 0);
        self.changes = Changes::default();
        page
    }

    /// Whether `era` is the newest generation: from another one this memory cannot go on, because what it reaches may be in use again.
    pub(crate) fn is_newest(&self, era: &Era) -> bool {
        self.tip == era.0
    }

    /// Units of rooms that wait.
    pub(crate) fn waiting_units(&self) -> usize {
        self.retired.iter().map(|retired| retired.units).sum()
    }

    /// Units that were ever used.
    pub(crate) fn used_units(&self) -> usize {
        self.end as usize
    }

    /// Pages that were ever used.
    #[cfg(test)]
    pub(crate) fn used_pages(&self) -> usize {
        self.leaves.len()
    }

    /// Frees a page that somebody may use: for tests of who has to notice.
    #[cfg(test)]
    pub(crate) fn free_wrongly(&mut self, page: u32) {
        self.free_pages.push(page);
    }

    /// Begins a transaction.
    pub(crate) fn begin(&mut self) {
        self.recycle();
        self.tip += 1;
    }

    /// Ends the transaction after the generation `before`; the era of the next one.
    pub(crate) fn commit(&mut self, before: &Arc<Era>) -> Arc<Era> {
        let changes = std::mem::take(&mut self.changes);
        self.retired.push_back(Retired {
            era: Arc::clone(before),
            units: changes
                .retired_rooms
                .iter()
                .map(|room| usize::from(room.units))
                .sum(),
            pages: changes.retired_pages,
            rooms: changes.retired_rooms,
        });
        Arc::new(Era(self.tip))
    }

    /// Ends the transaction as if it had not been.
    pub(crate) fn abandon(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        self.tip -= 1;
        self.free(changes.taken_pages, changes.taken_rooms);
    }

    /// Whether this transaction made the page, so that it may still write it.
    pub(crate) fn is_own_page(&self, page: u32) -> bool {
        self.leaves[page as usize].born == self.tip
    }

    /// What is known of a page.
    pub(crate) fn leaf(&self, page: u32) -> Leaf {
        self.leaves[page as usize]
    }

    /// Counts an entry more or less.
    pub(crate) fn count(&mut self, page: u32, by: i16) {
        let used = &mut self.leaves[page as usize].used;
        *used = used.saturating_add_signed(by);
    }

    /// A page for this transaction, with whatever was in it; it will have so many entries, and be so deep.
    pub(crate) fn take_page(&mut self, used: u16, depth: u8) -> u32 {
        let page = self.free_pages.pop().unwrap_or_else(|| {
            let page = self.leaves.len();
            self.leaves.push(Leaf::default());
            if page == self.pages.len() {
                self.pages.grow();
            }
            page as u32
        });
        let born = self.tip;
        self.leaves[page as usize] = Leaf { born, used, depth };
        self.changes.taken_pages.push(page);
        page
    }

    /// The next generation does not reach this page. That those of this transaction are not in use again before the next one
    /// costs little.
    pub(crate) fn retire_page(&mut self, page: u32) {
        self.changes.retired_pages.push(page);
    }

    /// Room for a record of so many units; its number is that of its first unit.
    pub(crate) fn take_room(&mut self, units: usize) -> u32 {
        let first = match self.free_rooms[units - 1].pop() {
            Some(first) => first,
            None => self.new_room(units),
        };
        self.changes.taken_rooms.push(Room {
            first,
            units: units as u8,
        });
        first
    }

    /// The next generation does not reach this record.
    pub(crate) fn retire_room(&mut self, first: u32, units: usize) {
        self.changes.retired_rooms.push(Room {
            first,
            units: units as u8,
        });
    }

    /// A record does not cross chunks; what is left of one becomes a free room.
    fn new_room(&mut self, units: usize) -> u32 {
        let left = ROOM - self.end as usize % records::CHUNK;
        if left < units {
            if left > 0 {
                self.free_rooms[left - 1].push(self.end);
            }
            self.end = (self.end as usize).next_multiple_of(records::CHUNK) as u32;
        }
        let first = self.end;
        self.end += units as u32;
        if self.end as usize > self.units.len() {
            self.units.grow();
        }
        first
    }

    fn free(&mut self, pages: Vec<u32>, rooms: Vec<Room>) {
        self.free_pages.extend(pages);
        for room in rooms {
            self.free_rooms[usize::from(room.units) - 1].push(room.first);
        }
    }

    /// Frees what waited for eras that are over.
    fn recycle(&mut self) {
        let mut waiting: VecDeque<Retired> = VecDeque::with_capacity(self.retired.len());
        for mut retired in std::mem::take(&mut self.retired) {
            // Unique: nobody reads that generation, and what its readers did happened before this.
            if Arc::get_mut(&mut retired.era).is_none() {
                waiting.push_back(retired);
                continue;
            }
            let Some(holder) = waiting.back_mut() else {
                self.free(retired.pages, retired.rooms);
                continue;
            };
            // The newest generation that lives and is older: it reaches what was there in its time.
            let is_held = |page: &u32| self.leaves[*page as usize].born <= holder.era.0;
            let (held, free): (Vec<u32>, _) = retired.pages.into_iter().partition(is_held);
            holder.pages.extend(held);
            holder.rooms.extend(retired.rooms);
            holder.units += retired.units;
            self.free(free, Vec::new());
        }
        self.retired = waiting;
    }
}
