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
        }
    }

    /// After a round that received `received` packets: accounts its time, and sleeps when that is due. Returns the TSC at which the
    /// next round begins.
    #[inline]
    pub fn pace(&mut self, received: usize, reader: &mut Reader<Tables>, floor: &mut Floor) -> u64 {
        let now = tsc();
        let worker = &floor.counters.worker;
        let cycles = now.saturating_sub(self.last);
        self.last = now;
        worker.gaps.add(cycles);
        if received > 0 {
            worker.packets.add(received as u64);
            worker.bursts.add(1);
            worker.busy_cycles.add(cycles);
            self.empty = 0;
            self.ramp = RAMP_START;
            if self.armed {
                self.disarm(floor);
            }
            return now;
        }
        worker.empty_polls.add(1);
        worker.idle_cycles.add(cycles);
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
