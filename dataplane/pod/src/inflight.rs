//! Calls that wait for an answer: a bounded slab, found by request id without a search.
//!
//! A request id is `sequence(48) | slot(16)`. The sequence starts at random and grows with every call, so a late answer to an
//! earlier call of the same slot is recognised, and ids are not to be guessed by a peer that has seen none.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dmsc_wire::RequestId;
use tokio::sync::oneshot;

/// A table of at most `capacity` waiting calls.
#[derive(Debug)]
pub struct InFlight<T> {
    slots: Mutex<Slots<T>>,
}

#[derive(Debug)]
struct Slots<T> {
    waiting: Vec<Option<(RequestId, oneshot::Sender<T>)>>,
    free: Vec<u16>,
    sequence: u64,
}

/// A waiting call; dropping it frees its slot.
#[derive(Debug)]
pub struct Waiting<'a, T> {
    table: &'a InFlight<T>,
    /// The id to send.
    pub id: RequestId,
    /// Where the answer arrives.
    pub answer: oneshot::Receiver<T>,
}

impl<T> InFlight<T> {
    /// An empty table.
    #[must_use]
    pub fn new(capacity: u16) -> Self {
        Self {
            slots: Mutex::new(Slots {
                waiting: (0..capacity).map(|_| None).collect(),
                free: (0..capacity).rev().collect(),
                sequence: rand::random::<u64>() >> 16,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to wait; `None` if the table is full.
    pub fn start(&self) -> Option<Waiting<'_, T>> {
        let mut slots = self.lock();
        let slot = slots.free.pop()?;
        slots.sequence = slots.sequence.wrapping_add(1);
        let id = RequestId(slots.sequence << 16 | u64::from(slot));
        let (sender, answer) = oneshot::channel();
        slots.waiting[usize::from(slot)] = Some((id, sender));
        Some(Waiting {
            table: self,
            id,
            answer,
        })
    }

    /// Hands an answer to its call; `false` if nobody waits for it.
    pub fn finish(&self, id: RequestId, answer: T) -> bool {
        let slot = usize::from((id.0 & 0xffff) as u16);
        let sender = {
            let mut slots = self.lock();
            let Some(waiting) = slots.waiting.get_mut(slot) else {
                return false;
            };
            // The slot stays taken until the caller lets go of it.
            match waiting.take() {
                Some((waits, sender)) if waits == id => sender,
                other => {
                    *waiting = other;
                    return false;
                }
            }
        };
        sender.send(answer).is_ok()
    }

    /// Calls that wait now.
    #[must_use]
    pub fn len(&self) -> usize {
        let slots = self.lock();
        slots.waiting.len() - slots.free.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let slot = (self.id.0 & 0xffff) as u16;
        let mut slots = self.table.lock();
        slots.waiting[usize::from(slot)] = None;
        slots.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_is_told_and_freed_slots_come_back() {
        let table = InFlight::<u32>::new(2);
        let (one, two) = (table.start().unwrap(), table.start().unwrap());
        assert!(table.start().is_none());
        drop(one);
        let three = table.start().unwrap();
        assert_ne!(three.id, two.id);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn an_answer_reaches_its_call_once() {
        let table = InFlight::<u32>::new(4);
        let mut call = table.start().unwrap();
        assert!(table.finish(call.id, 7));
        assert!(!table.finish(call.id, 8), "twice");
        assert_eq!(call.answer.try_recv(), Ok(7));
    }

    #[test]
    fn late_answers_and_inventions_are_refused() {
        let table = InFlight::<u32>::new(1);
        let old = table.start().unwrap().id;
        let call = table.start().unwrap();
        assert_eq!(old.0 & 0xffff, call.id.0 & 0xffff, "same slot");
        assert!(!table.finish(old, 1));
        assert!(!table.finish(RequestId(u64::MAX), 1));
        assert!(table.finish(call.id, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn random_operations_agree_with_a_model(operations in prop::collection::vec((0u8..3, 0usize..8), 1..200)) {
            let table = InFlight::<usize>::new(5);
            let mut waiting: Vec<(Waiting<'_, usize>, Option<usize>)> = Vec::new();
            for (step, (operation, which)) in operations.into_iter().enumerate() {
                match operation {
                    0 => match table.start() {
                        Some(call) => waiting.push((call, None)),
                        None => prop_assert_eq!(waiting.len(), 5),
                    },
                    1 if which < waiting.len() => {
                        let (call, answer) = &mut waiting[which];
                        prop_assert_eq!(table.finish(call.id, step), answer.is_none());
                        answer.get_or_insert(step);
                    }
                    2 if which < waiting.len() => {
                        let (mut call, answer) = waiting.swap_remove(which);
                        prop_assert_eq!(call.answer.try_recv().ok(), answer);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), waiting.len());
            }
        }
    }
}
