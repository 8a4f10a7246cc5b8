//! Pace of summaries to and from one neighbour: of a bucket that does not get equal, whatever is sent, headers are told later and later.

use std::time::Duration;

use super::session::PATIENCE;
use crate::message::BUCKETS;
use crate::object::Key;

/// An exchange that brings nothing is repeated later and later, at most so late.
const LONGEST: Duration = Duration::from_secs(30);
/// New versions bring a bucket nearer to the neighbour's if they are at least this part of it: fewer come by themselves, because objects are refreshed.
const PART: usize = 16;

/// Of one bucket of the digest.
#[derive(Debug, Clone, Copy)]
struct Of {
    /// Time between two summaries.
    pace: Duration,
    /// The last one was sent.
    told: Option<Duration>,
    /// The last one was heeded.
    heard: Option<Duration>,
    /// Objects in it were accepted from the neighbour since the last one was sent …
    accepted: usize,
    /// … and they were many, or new ones.
    progress: bool,
}

/// Pace of summaries.
#[derive(Debug)]
pub struct Exchange {
    of: [Of; BUCKETS],
    /// The last one that was heeded was a part of these buckets up to this key: the next part is heeded too.
    pub heard_to: Option<(u64, Key)>,
    interval: Duration,
    /// Summaries were sent last, at first of some buckets.
    round: Option<Duration>,
    waits: Option<Duration>,
}

fn is_over(last: Option<Duration>, now: Duration, length: Duration) -> bool {
    last.is_none_or(|last| now.saturating_sub(last) >= length)
}

impl Exchange {
    /// Nothing was said yet.
    pub fn new(interval: Duration) -> Self {
        let of = Of {
            pace: interval,
            told: None,
            heard: None,
            accepted: 0,
            progress: false,
        };
        Self {
            of: [of; BUCKETS],
            heard_to: None,
            interval,
            round: None,
            waits: None,
        }
    }

    fn each(&mut self, mask: u64) -> impl Iterator<Item = (u64, &mut Of)> {
        let bits = self.of.iter_mut().enumerate();
        bits.map(|(bucket, of)| (1u64 << (bucket % BUCKETS), of))
            .filter(move |(bit, _)| mask & bit != 0)
    }

    /// Digests differ in the buckets of `differ`, and in no others: those of which a summary is due. Slower if there was one and it brought nothing.
    pub fn tell(&mut self, differ: u64, now: Duration) -> u64 {
        self.waits = None;
        self.set_equal(!differ, now);
        let longest = LONGEST.max(self.interval);
        // What is told a little later than other buckets counts as told with them: the next time all are in one message again.
        let round = self
            .round
            .filter(|round| !is_over(Some(*round), now, self.interval));
        let round = round.unwrap_or(now);
        let mut due = 0;
        for (bit, of) in self.each(differ) {
            if !is_over(of.told, now, of.pace) {
                continue;
            }
            if of.told.is_some() && !of.progress {
                of.pace = (of.pace * 2).min(longest);
            }
            of.told = Some(round);
            of.accepted = 0;
            of.progress = false;
            due |= bit;
        }
        if due != 0 {
            self.round = Some(round);
        }
        due
    }

    /// The buckets of `mask` that a summary of the neighbour is heeded for. Its pace may be one step ahead of this node's.
    pub fn heed(&mut self, mask: u64, now: Duration) -> u64 {
        let interval = self.interval;
        let mut heeded = 0;
        for (bit, of) in self.each(mask) {
            if is_over(of.heard, now, interval.max(of.pace / 2)) {
                of.heard = Some(now);
                heeded |= bit;
            }
        }
        heeded
    }

    /// The neighbour brought an object of a bucket that holds so many.
    pub fn accepted(&mut self, bucket: u8, size: usize, is_new: bool) {
        let interval = self.interval;
        if let Some(of) = self.of.get_mut(usize::from(bucket)) {
            of.accepted += 1;
            if is_new || of.accepted >= 2.max(size / PART) {
                of.progress = true;
                of.pace = interval;
            }
        }
    }

    /// Digests differ while objects are on their way there: whether to wait for them.
    pub fn wait(&mut self, now: Duration) -> bool {
        let from = *self.waits.get_or_insert(now);
        now.saturating_sub(from) < self.interval * PATIENCE
    }

    /// At full pace again.
    pub fn reset(&mut self, now: Duration) {
        self.waits = None;
        self.set_equal(u64::MAX, now);
    }

    fn set_equal(&mut self, mask: u64, now: Duration) {
        let interval = self.interval;
        for (_, of) in self.each(mask) {
            of.pace = interval;
            of.progress = false;
            of.told = of.told.filter(|told| now.saturating_sub(*told) < interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    /// At how many digests in ten minutes each bucket is told, if these buckets always differ, and before each digest `before` happens.
    fn told(differ: u64, mut before: impl FnMut(&mut Exchange, u64)) -> [u32; 2] {
        let mut exchange = Exchange::new(INTERVAL);
        let mut told = [0; 2];
        for step in 0..300u64 {
            before(&mut exchange, step);
            let due = exchange.tell(differ, INTERVAL * u32::try_from(step).unwrap());
            assert_eq!(due & !differ, 0);
            told[0] += u32::from(due & 1 != 0);
            told[1] += u32::from(due & 2 != 0);
        }
        told
    }

    #[test]
    fn a_bucket_that_does_not_get_equal_slows_down() {
        // At 0, 2, 6, 14, 30, 60, 90 … 570 s.
        assert_eq!(told(1, |_, _| {}), [23, 0]);
    }

    #[test]
    fn nor_do_refreshes_or_other_buckets_keep_it_fast() {
        // A bucket of 1,000, each refreshed every 20 minutes; and another bucket gets new objects all the time.
        let most = told(3, |exchange, _| {
            exchange.accepted(0, 1_000, false);
            exchange.accepted(1, 1_000, true);
        });
        assert_eq!(most, [23, 300]);
    }

    #[test]
    fn many_objects_keep_it_fast() {
        let most = told(1, |exchange, _| {
            for _ in 0..100 {
                exchange.accepted(0, 1_000, false);
            }
        });
        assert_eq!(most, [300, 0]);
    }
}
