//! Which frame goes next: strict priority above, self-clocked fair queueing below (S. J. Golestani, INFOCOM 1994).
//!
//! Fair queueing by finish tags, not by rounds of quanta (DRR): a class that was silent is served right behind the frame that is
//! under way, whatever the quanta of others would be, and eight tags are compared faster than a round is made.

use std::collections::VecDeque;

use super::{CLASSES, Discipline};

/// Part of a byte in which virtual time is counted: small shares of small frames stay exact.
const SCALE: u64 = 1 << 10;
/// Virtual time at which all tags are moved back: far from the end of a `u64`.
const LATE: u64 = 1 << 62;

/// A bounded queue per class. All memory is taken when it is made.
#[derive(Debug)]
pub struct Scheduler<T> {
    classes: [ClassQueue<T>; CLASSES],
    /// Bit per class that has frames.
    occupied: u8,
    /// Bits of the strict classes.
    strict: u8,
    frames: usize,
    queue_frames: usize,
    /// Most frames of all classes together.
    hold: usize,
    /// Finish tag of what was served last among the weighted classes.
    virtual_time: u64,
}

#[derive(Debug)]
struct ClassQueue<T> {
    waiting: VecDeque<(T, u32)>,
    /// 0: strict, which has no part in virtual time.
    weight: u64,
    /// When the head is through, in virtual time; of an empty queue: when its last frame was.
    finish: u64,
}

/// A frame that goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<T> {
    /// Its class.
    pub class: u8,
    /// The frame.
    pub frame: T,
    /// Its length.
    pub bytes: u32,
}

/// What became of a frame that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// It waits.
    Kept,
    /// It waits in the place of the newest frame of a lower class, which comes back.
    InsteadOf(u8, T),
    /// No room: it comes back.
    Refused(T),
}

impl<T> Scheduler<T> {
    /// Of this discipline, for at most `hold` frames in all.
    pub fn new(discipline: &Discipline, hold: usize) -> Scheduler<T> {
        let room = discipline.queue_frames.min(hold);
        let strict = u8::MAX
            .checked_shl(u32::from(discipline.strict_from))
            .unwrap_or(0);
        Scheduler {
            classes: std::array::from_fn(|class| ClassQueue {
                waiting: VecDeque::with_capacity(room),
                weight: match strict >> class & 1 {
                    1 => 0,
                    _ => u64::from(discipline.weights[class].max(1)),
                },
                finish: 0,
            }),
            occupied: 0,
            strict,
            frames: 0,
            queue_frames: room,
            hold,
            virtual_time: 0,
        }
    }

    /// Frames that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Whether none does.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Frames of one class that wait.
    #[inline]
    pub fn len_of(&self, class: u8) -> usize {
        self.classes[index(class)].waiting.len()
    }

    /// Whether a frame of `class` would have to go at once.
    #[inline]
    pub fn is_full_for(&self, class: u8) -> bool {
        self.len_of(class) >= self.queue_frames
            || (self.frames >= self.hold && self.lowest_below(class).is_none())
    }

    /// A frame of `bytes` comes. Where all classes together have too many, the newest of the lowest class makes room.
    pub fn push(&mut self, class: u8, frame: T, bytes: u32) -> Pushed<T> {
        if self.is_full_for(class) {
            return Pushed::Refused(frame);
        }
        let mut pushed = Pushed::Kept;
        if self.frames >= self.hold
            && let Some(lower) = self.lowest_below(class)
            && let Some(evicted) = self.take_newest(lower)
        {
            pushed = Pushed::InsteadOf(lower, evicted);
        }
        let now = self.virtual_time;
        let queue = &mut self.classes[index(class)];
        if queue.waiting.is_empty() {
            queue.finish = queue.finish.max(now) + queue.cost(bytes);
        }
        queue.waiting.push_back((frame, bytes));
        self.occupied |= 1 << index(class);
        self.frames += 1;
        pushed
    }

    /// The frame that goes next.
    pub fn pop(&mut self) -> Option<Next<T>> {
        let class = self.next_class()?;
        let queue = &mut self.classes[class];
        let (frame, bytes) = queue.waiting.pop_front()?;
        self.frames -= 1;
        self.virtual_time = self.virtual_time.max(queue.finish);
        match queue.waiting.front() {
            Some(&(_, bytes)) => queue.finish += queue.cost(bytes),
            None => self.occupied &= !(1 << class),
        }
        if self.virtual_time > LATE || self.occupied == 0 {
            self.rewind();
        }
        Some(Next {
            class: class as u8,
            frame,
            bytes,
        })
    }

    fn next_class(&self) -> Option<usize> {
        let first = self.occupied & self.strict;
        if first != 0 {
            return Some(first.ilog2() as usize);
        }
        // Of equal tags the higher class.
        (0..CLASSES)
            .rev()
            .filter(|class| self.occupied >> class & 1 == 1)
            .min_by_key(|class| self.classes[*class].finish)
    }

    /// The lowest class with frames, if it is below `class`.
    fn lowest_below(&self, class: u8) -> Option<u8> {
        let lowest = self.occupied.trailing_zeros() as u8;
        (lowest < class).then_some(lowest)
    }

    fn take_newest(&mut self, class: u8) -> Option<T> {
        let queue = &mut self.classes[index(class)];
        let (frame, bytes) = queue.waiting.pop_back()?;
        self.frames -= 1;
        if queue.waiting.is_empty() {
            // It was the head: it was not served, so its class owes nothing for it.
            queue.finish = queue.finish.saturating_sub(queue.cost(bytes));
            self.occupied &= !(1 << index(class));
        }
        Some(frame)
    }

    /// Moves all tags back by what has passed; what an empty class has had before counts no more then.
    fn rewind(&mut self) {
        let passed = self.virtual_time;
        for queue in &mut self.classes {
            queue.finish = queue.finish.saturating_sub(passed);
        }
        self.virtual_time = 0;
    }
}

impl<T> ClassQueue<T> {
    fn cost(&self, bytes: u32) -> u64 {
        (u64::from(bytes.max(1)) * SCALE)
            .checked_div(self.weight)
            .unwrap_or(0)
    }
}

fn index(class: u8) -> usize {
    usize::from(class) % CLASSES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn discipline(strict_from: u8, weights: [u32; CLASSES], queue_frames: usize) -> Discipline {
        Discipline {
            strict_from,
            weights,
            queue_frames,
            mark_frames: queue_frames,
        }
    }

    fn pop<T>(scheduler: &mut Scheduler<T>) -> Option<(u8, T)> {
        scheduler.pop().map(|next| (next.class, next.frame))
    }

    #[test]
    fn strict_classes_go_first_and_each_class_keeps_its_order() {
        let mut scheduler = Scheduler::new(&Discipline::default(), 100);
        for (class, frame) in [(0, 1), (6, 2), (5, 3), (7, 4), (6, 5), (0, 6)] {
            assert_eq!(scheduler.push(class, frame, 1000), Pushed::Kept);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut scheduler)).collect();
        assert_eq!(order, [(7, 4), (6, 2), (6, 5), (5, 3), (0, 1), (0, 6)]);
        assert!(scheduler.is_empty());
    }

    #[test]
    fn who_was_silent_waits_for_nobody_s_quantum() {
        let mut scheduler = Scheduler::new(&Discipline::default(), 1000);
        for frame in 0..100 {
            scheduler.push(4, frame, 1500);
        }
        for _ in 0..50 {
            assert_eq!(pop(&mut scheduler).map(|(class, _)| class), Some(4));
        }
        scheduler.push(5, 1000, 1500);
        assert_eq!(
            pop(&mut scheduler),
            Some((5, 1000)),
            "right behind what is under way"
        );
    }

    #[test]
    fn a_higher_class_takes_the_room_of_the_lowest_one() {
        let mut scheduler = Scheduler::new(&discipline(6, [1; CLASSES], 3), 4);
        for frame in 0..3 {
            assert_eq!(scheduler.push(0, frame, 100), Pushed::Kept);
        }
        assert_eq!(
            scheduler.push(0, 3, 100),
            Pushed::Refused(3),
            "its own bound"
        );
        assert_eq!(scheduler.push(1, 10, 100), Pushed::Kept);
        assert_eq!(scheduler.push(5, 50, 100), Pushed::InsteadOf(0, 2));
        assert_eq!(scheduler.push(0, 4, 100), Pushed::Refused(4), "all full");
        assert_eq!(scheduler.len(), 4);
    }

    #[test]
    fn virtual_time_does_not_run_out() {
        let mut scheduler = Scheduler::new(&Discipline::default(), 16);
        scheduler.virtual_time = LATE - 5;
        for queue in &mut scheduler.classes {
            queue.finish = LATE - 5;
        }
        for frame in 0..100u32 {
            scheduler.push((frame % 2) as u8, frame, 9000);
            scheduler.push(2, frame, 9000);
            scheduler.pop();
            assert!(scheduler.virtual_time < LATE + 9000 * SCALE);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// On a link that is always busy in virtual time: nothing of a weighted class goes while a strict one waits, weighted classes that
        /// always have something get their shares within 5 % of what strict ones leave, and memory stays bounded.
        #[test]
        fn shares_hold_on_a_busy_link(
            strict_from in 4u8..=8,
            weights in prop::array::uniform8(1u32..=32),
            sizes in prop::array::uniform8(64u32..=9000),
            strict_every in 2usize..20,
            busy in 0u8..=15,
        ) {
            let discipline = discipline(strict_from, weights, 8);
            let hold = 8 * CLASSES;
            let mut scheduler = Scheduler::new(&discipline, hold);
            let backlogged: Vec<u8> = (0..4u8).filter(|class| busy >> class & 1 == 1).collect();
            let mut served = [0u64; CLASSES];
            let goal = 60_000_000u64;
            let mut total = 0;
            let mut turn = 0usize;
            while total < goal {
                turn += 1;
                for &class in &backlogged {
                    while scheduler.len_of(class) < 4 {
                        prop_assert_eq!(scheduler.push(class, class, sizes[usize::from(class)]), Pushed::Kept);
                    }
                }
                if turn.is_multiple_of(strict_every) && strict_from < 8 {
                    scheduler.push(7, 7, sizes[7]);
                }
                prop_assert!(scheduler.len() <= hold);
                let strict_waits = scheduler.len_of(7) > 0 && strict_from < 8;
                let Some((class, frame)) = pop(&mut scheduler) else { total += 5000; continue };
                prop_assert_eq!(class, frame);
                prop_assert!(!strict_waits || class >= strict_from);
                let bytes = u64::from(sizes[usize::from(class)]);
                served[usize::from(class)] += bytes;
                total += bytes;
            }
            let weight: u64 = backlogged.iter().map(|c| u64::from(weights[usize::from(*c)])).sum();
            let weighted: u64 = backlogged.iter().map(|c| served[usize::from(*c)]).sum();
            for &class in &backlogged {
                let share = served[usize::from(class)] as f64 / weighted as f64;
                let due = f64::from(weights[usize::from(class)]) / weight as f64;
                prop_assert!((share / due - 1.0).abs() < 0.05, "class {class}: share {share}, due {due}");
            }
        }

        /// Whatever comes and goes: every frame comes out once or comes back once, in the order of its class, and no class starves.
        #[test]
        fn nothing_is_lost_made_or_turned_round(
            steps in prop::collection::vec((0u8..8, 64u32..9000, any::<bool>()), 1..600),
            hold in 1usize..64,
        ) {
            let mut scheduler = Scheduler::new(&discipline(6, [1, 2, 4, 8, 16, 32, 1, 1], 16), hold);
            let mut model: [VecDeque<usize>; CLASSES] = Default::default();
            for (number, (class, bytes, pops)) in steps.into_iter().enumerate() {
                let queue = usize::from(class);
                match scheduler.push(class, number, bytes) {
                    Pushed::Kept => model[queue].push_back(number),
                    Pushed::InsteadOf(lower, frame) => {
                        prop_assert!(lower < class);
                        prop_assert_eq!(model[usize::from(lower)].pop_back(), Some(frame));
                        model[queue].push_back(number);
                    }
                    Pushed::Refused(frame) => {
                        prop_assert_eq!(frame, number);
                        let all: usize = model.iter().map(VecDeque::len).sum();
                        prop_assert!(model[queue].len() == 16.min(hold) || all == hold);
                    }
                }
                if pops {
                    let (class, frame) = pop(&mut scheduler).expect("one was kept");
                    prop_assert_eq!(model[usize::from(class)].pop_front(), Some(frame));
                }
                let all: usize = model.iter().map(VecDeque::len).sum();
                prop_assert_eq!(scheduler.len(), all);
                prop_assert!(all <= hold);
            }
            while let Some((class, frame)) = pop(&mut scheduler) {
                prop_assert_eq!(model[usize::from(class)].pop_front(), Some(frame));
            }
            prop_assert!(model.iter().all(VecDeque::is_empty));
        }
    }
}
