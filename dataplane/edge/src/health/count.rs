//! From single checks to a state: some good ones in a row, or some bad ones.

/// Counts the checks of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    rise: u32,
    fall: u32,
    /// `None` until the first check is known.
    well: Option<bool>,
    /// Checks in a row that say otherwise.
    against: u32,
}

impl Count {
    /// `rise` good checks in a row until it is well, `fall` bad ones until it is not; the first check decides by itself.
    #[must_use]
    pub const fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            well: None,
            against: 0,
        }
    }

    /// Takes a check; `Some` when the state changed by it.
    pub fn tell(&mut self, good: bool) -> Option<bool> {
        let Some(well) = self.well else {
            self.well = Some(good);
            return Some(good);
        };
        if good == well {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if good { self.rise } else { self.fall };
        if self.against < needed {
            return None;
        }
        self.well = Some(good);
        self.against = 0;
        Some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_change_the_state_and_single_checks_do_not() {
        let mut count = Count::new(2, 3);
        let said: Vec<Option<bool>> = "+--+---+-++-"
            .chars()
            .map(|check| count.tell(check == '+'))
            .collect();
        let (up, down) = (Some(true), Some(false));
        let no = None;
        assert_eq!(said, [up, no, no, no, no, no, down, no, no, no, up, no]);
        let mut count = Count::new(1, 2);
        assert_eq!(count.tell(false), Some(false), "the first decides");
        assert_eq!(count.tell(true), Some(true));
    }
}
