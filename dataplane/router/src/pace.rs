//! What a worker does when nothing came in: polls on, blocks, or sleeps in growing steps (design §9, Idle).

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arrayvec::ArrayVec;
use dmsc_dpdk::tsc;
use dmsc_fib::qsbr::Reader;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::tables::Tables;
use crate::worker::{Floor, Queue};

/// Empty rounds before a worker goes to sleep.
const EMPTY_ROUNDS: u32 = 4;
/// First and longest step of the ramp for ports that have nothing to block on.
const RAMP_START: Duration = Duration::from_micros(50);
const RAMP_END: Duration = Duration::from_millis(1);
/// Shortest time asleep while frames wait for their port: to wake costs about as much.
const SHORTEST: Duration = Duration::from_micros(20);
/// Busy rounds that take fewer cycles together have one look at the clock, which takes as long as a packet where a hypervisor is between. Less
/// than what is counted as a gap.
const UNREAD: u64 = 1 << 13;
/// Most of these rounds, as a power of two.
const MOST_UNREAD: u32 = 3;
/// Longest time asleep.
const LONGEST: Duration = Duration::from_millis(100);

/// Decides when to sleep and how.
pub struct Pacer {
    /// Every port has a descriptor that wakes.
    can_block: bool,
    /// Every descriptor was armed since the last sleep.
    armed: bool,
    empty: u32,
    ramp: Duration,
    last: u64,
    /// Busy rounds to come before the next look at the clock.
    unread: u32,
    /// Rounds from one look to the next, as a power of two.
    stride: u32,
}

impl Pacer {
    /// For a worker with these queues.
    pub fn new(queues: &[Queue]) -> Pacer {
        Pacer {
            can_block: queues.iter().all(|q| !q.waits.is_empty()),
            armed: false,
            empty: 0,
            ramp: RAMP_START,
            last: tsc(),
            unread: 0,
            stride: 0,
        }
    }

    /// After a round that received `received` packets: accounts its time, and sleeps when that is due. Returns the TSC at which the
    /// next round begins, or, of short busy rounds, a little less: at most [`UNREAD`], if the next ones are like those before.
    #[inline]
    pub fn pace(&mut self, received: usize, reader: &mut Reader<Tables>, floor: &mut Floor) -> u64 {
        let worker = &floor.counters.worker;
        if received > 0 {
            worker.packets.add(received as u64);
            worker.bursts.add(1);
            self.empty = 0;
            self.ramp = RAMP_START;
            if self.armed {
                self.disarm(floor);
            }
            if self.unread > 0 {
                self.unread -= 1;
                return self.last;
            }
        }
        let now = tsc();
        let cycles = now.saturating_sub(self.last);
        self.last = now;
        let worker = &floor.counters.worker;
        worker.gaps.add(cycles);
        if received > 0 {
            worker.busy_cycles.add(cycles);
            self.stride = stride(cycles >> self.stride);
            self.unread = (1 << self.stride) - 1;
            return now;
        }
        // With busy rounds in it that ended before the clock was to be read.
        let was_busy = self.stride > 0;
        (self.stride, self.unread) = (0, 0);
        worker.empty_polls.add(1);
        if was_busy {
            worker.busy_cycles.add(cycles);
        } else {
            worker.idle_cycles.add(cycles);
        }
        self.empty += 1;
        if floor.shared.polls.load(Relaxed) || self.empty < EMPTY_ROUNDS {
            return now;
        }
        if self.armed {
            return self.sleep(now, reader, floor);
        }
        // One more look behind the arming, or a packet in between would wait for the next one.
        for wait in floor.queues.iter().flat_map(|queue| &queue.waits) {
            wait.arm();
        }
        self.armed = true;
        now
    }

    /// There is work after all: under load nobody shall signal what is polled for anyway.
    #[cold]
    fn disarm(&mut self, floor: &Floor) {
        for wait in floor.queues.iter().flat_map(|queue| &queue.waits) {
            wait.disarm();
        }
        self.armed = false;
    }

    /// Sleeps; returns the TSC afterwards.
    fn sleep(&mut self, now: u64, reader: &mut Reader<Tables>, floor: &mut Floor) -> u64 {
        let shared = floor.shared.clone();
        let link = &shared.workers[floor.id];
        let clock = shared.clock;
        let until_timer = Duration::from_nanos(clock.to_ns(floor.next_timer.saturating_sub(now)));
        let mut limit = until_timer.min(LONGEST);
        if !self.can_block {
            limit = limit.min(self.ramp);
            self.ramp = (self.ramp * 2).min(RAMP_END);
        }
        if let Some(at) = floor.next_departure(now) {
            let until = Duration::from_nanos(clock.to_ns(at.saturating_sub(now)));
            limit = limit.min(until.max(SHORTEST));
        }
        let counters = floor.counters.clone();
        counters.worker.asleep.store(1, Relaxed);
        // Offline is quiescent: the publisher does not wait for who sleeps (design §5).
        reader.offline();
        link.bell.prepare();
        let work = !link.raw.is_empty()
            || !link.inject.is_empty()
            || link.hurry.load(Relaxed)
            || link.tallies.is_offered()
            || !shared.is_running();
        if !work && !limit.is_zero() {
            let mut fds: ArrayVec<PollFd<'_>, 65> = ArrayVec::new();
            fds.push(link.bell.poll_fd());
            for queue in &floor.queues {
                if now < queue.paused_until {
                    // Over budget: what waits there shall not wake; the pause ends by itself.
                    limit = limit.min(
                        Duration::from_nanos(clock.to_ns(queue.paused_until - now))
                            .max(Duration::from_micros(20)),
                    );
                    continue;
                }
                for wait in &queue.waits {
                    let _ = fds.try_push(PollFd::new(
                        std::os::fd::AsFd::as_fd(wait),
                        PollFlags::POLLIN,
                    ));
                }
            }
            // EINTR and time-out are as good as a packet: the next round looks.
            let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(limit)), None);
            drop(fds);
            for wait in floor.queues.iter().flat_map(|queue| &queue.waits) {
                wait.wake();
            }
            self.armed = false;
        }
        link.bell.awake();
        reader.online();
        counters.worker.asleep.store(0, Relaxed);
        let woke = tsc();
        counters.worker.sleeps.add(1);
        counters
            .worker
            .sleep_ns
            .add(clock.to_ns(woke.saturating_sub(now)));
        counters.worker.idle_cycles.add(woke.saturating_sub(now));
        self.last = woke;
        if self.can_block {
            self.empty = 0;
        }
        woke
    }
}

/// Busy rounds from one look at the clock to the next, as a power of two, where one takes this many cycles.
#[inline(always)]
fn stride(cycles: u64) -> u32 {
    (UNREAD / cycles.max(1)).max(1).ilog2().min(MOST_UNREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_between_two_looks_at_the_clock_are_no_gap() {
        for cycles in [
            0,
            1,
            100,
            1_023,
            1_024,
            1_025,
            3_000,
            8_192,
            9_000,
            u64::MAX,
        ] {
            let rounds = 1 << stride(cycles);
            assert!(rounds == 1 || cycles * rounds <= UNREAD, "{cycles}");
        }
        assert_eq!([0, 1_024, 2_500, 9_000].map(stride), [3, 3, 1, 0]);
    }
}
