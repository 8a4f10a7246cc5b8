//! Calls sent and not finished: a ring over their indices, so memory is bounded by rate × timeout.

/// One slot of the ring.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    scheduled_ns: u64,
    deadline_ns: u64,
    waiting: bool,
}

/// The calls between the oldest that waits and the newest that was sent.
#[derive(Debug)]
pub struct Window {
    slots: Box<[Slot]>,
    oldest: u64,
    next: u64,
}

impl Window {
    /// Room for at least `calls`.
    #[must_use]
    pub fn new(calls: usize) -> Self {
        Self {
            slots: vec![Slot::default(); calls.max(1).next_power_of_two()].into(),
            oldest: 0,
            next: 0,
        }
    }

    fn slot(&mut self, index: u64) -> &mut Slot {
        let mask = self.slots.len() as u64 - 1;
        &mut self.slots[(index & mask) as usize]
    }

    /// Whether another call has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.next - self.oldest >= self.slots.len() as u64
    }

    /// Whether no call waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.oldest
    }

    /// Index of the next call.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Notes the next call as sent. There must be room.
    pub fn send(&mut self, scheduled_ns: u64, deadline_ns: u64) -> u64 {
        debug_assert!(!self.is_full());
        let index = self.next;
        *self.slot(index) = Slot {
            scheduled_ns,
            deadline_ns,
            waiting: true,
        };
        self.next += 1;
        index
    }

    /// Notes an answer; gives the scheduled time, or `None` if the call does not wait (late, twice, invented).
    pub fn finish(&mut self, index: u64) -> Option<u64> {
        if !(self.oldest..self.next).contains(&index) {
            return None;
        }
        let slot = self.slot(index);
        if !std::mem::take(&mut slot.waiting) {
            return None;
        }
        let scheduled = slot.scheduled_ns;
        self.advance();
        Some(scheduled)
    }

    /// Takes out the oldest call if its time is over: index and scheduled time. Deadlines grow with the index.
    pub fn expire(&mut self, now_ns: u64) -> Option<(u64, u64)> {
        if self.oldest_deadline()? > now_ns {
            return None;
        }
        let index = self.oldest;
        let scheduled = self.slot(index).scheduled_ns;
        self.slot(index).waiting = false;
        self.advance();
        Some((index, scheduled))
    }

    /// When the oldest call's time is over.
    pub fn oldest_deadline(&mut self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let oldest = self.oldest;
        Some(self.slot(oldest).deadline_ns)
    }

    /// The oldest always waits, or there is none.
    fn advance(&mut self) {
        while self.oldest < self.next {
            let oldest = self.oldest;
            if self.slot(oldest).waiting {
                return;
            }
            self.oldest += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_map(operations in prop::collection::vec((0u8..4, 0u64..40), 1..300)) {
            let mut window = Window::new(8);
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            let (mut now, mut next) = (0, 0);
            for (operation, number) in operations {
                now += 1;
                match operation {
                    0 if !window.is_full() => {
                        prop_assert_eq!(window.send(now, now + 10), next);
                        model.insert(next, now);
                        next += 1;
                    }
                    1 => prop_assert_eq!(window.finish(number), model.remove(&number)),
                    2 => {
                        let oldest = model.first_key_value().map(|(index, at)| (*index, *at));
                        let expired = oldest.filter(|(_, at)| at + 10 <= now);
                        prop_assert_eq!(window.expire(now), expired);
                        expired.map(|(index, _)| model.remove(&index));
                    }
                    _ => now += number,
                }
                prop_assert_eq!(window.is_empty(), model.is_empty());
                let oldest = model.first_key_value().map(|(_, at)| at + 10);
                prop_assert_eq!(window.oldest_deadline(), oldest);
            }
        }
    }
}
