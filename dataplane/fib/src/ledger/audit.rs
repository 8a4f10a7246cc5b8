//! The account against what a generation reaches.

use super::{Era, Leaf, Ledger};
use crate::audit::{Fault, Marks, same};
use crate::records;

impl Ledger {
    /// What is known of a page that a generation of this era reaches; `None` where it was written later.
    pub(crate) fn known_leaf(&self, page: u32, era: &Era) -> Option<Leaf> {
        let leaf = self.leaves.get(page as usize)?;
        (leaf.born <= era.0).then_some(*leaf)
    }

    /// Whether nothing that a generation of this era reaches, pages and units of records, is free or will be while it lives, nothing is free twice,
    /// and, if it is the newest one, whether there is nothing else.
    pub(crate) fn audit(&self, era: &Era, pages: &Marks, units: &Marks) -> Result<(), Fault> {
        let mut free = Free {
            what: "page",
            marks: Marks::new(self.leaves.len()),
            reached: pages,
        };
        for &page in &self.free_pages {
            free.add(page, true)?;
        }
        // What the generation of another era was the last to reach is free when that is over: if this one is younger, it does not reach it.
        for retired in &self.retired {
            for &page in &retired.pages {
                free.add(page, retired.era.0 < era.0)?;
            }
        }
        let free_pages = free.marks.count();
        let mut free = Free {
            what: "unit",
            marks: Marks::new(self.end as usize),
            reached: units,
        };
        for (rooms, units) in self.free_rooms.iter().zip(1..) {
            for &first in rooms {
                free.add_all(first..first + units, true)?;
            }
        }
        for retired in &self.retired {
            for room in &retired.rooms {
                let units = room.first..room.first + u32::from(room.units);
                free.add_all(units, retired.era.0 < era.0)?;
            }
        }
        if !self.is_newest(era) {
            return Ok(());
        }
        let end = self.end as usize;
        let (chunks, rest) = (end / records::CHUNK, end % records::CHUNK);
        same(
            "pages, free or in use",
            self.leaves.len(),
            free_pages + pages.count(),
        )?;
        same(
            "units of records, free or in use",
            chunks * records::ROOM + rest,
            free.marks.count() + units.count(),
        )
    }
}

/// Memory that is free, or waits to be.
struct Free<'a> {
    what: &'static str,
    marks: Marks,
    /// What the generation reaches.
    reached: &'a Marks,
}

impl Free<'_> {
    /// Adds one that must not be there yet; nor be reached, if it `is_over`.
    fn add(&mut self, number: u32, is_over: bool) -> Result<(), Fault> {
        let is_reached = is_over && self.reached.has(number as usize);
        if is_reached || !self.marks.mark(number as usize) {
            return Err(Fault::Free {
                what: self.what,
                number,
            });
        }
        Ok(())
    }

    fn add_all(&mut self, mut numbers: std::ops::Range<u32>, is_over: bool) -> Result<(), Fault> {
        numbers.try_for_each(|number| self.add(number, is_over))
    }
}
