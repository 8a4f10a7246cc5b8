//! Moves frames between the two interfaces of a wire; sleeps in poll(2) when nothing is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::direction::Direction;
use super::settings::{Answer, Change, ChangeError, Counters, Settings, Way};
use super::socket::{PacketSocket, SocketError};
use crate::wait::monotonic_ns;

/// Frames of one direction that are taken before the other gets its turn.
const BURST: usize = 64;
/// The largest frame that an interface can hand over.
const FRAME: usize = 65_536;

#[derive(Debug, Default)]
struct Shared {
    settings: [Settings; 2],
    counters: [Counters; 2],
}

/// Changes and reads a running wire from another thread.
#[derive(Debug, Clone, Default)]
pub struct Handle {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing in here can be left half changed, so a panic elsewhere does no harm.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings of `way`; `reset`: starting from a perfect cable.
    ///
    /// # Errors
    /// When a probability is not one; nothing is changed then.
    pub fn set(&self, way: Way, reset: bool, change: &Change) -> Result<(), ChangeError> {
        let mut shared = self.lock();
        let mut next = shared.settings;
        for &index in way.indices() {
            if reset {
                next[index] = Settings::default();
            }
            next[index].apply(change)?;
        }
        shared.settings = next;
        Ok(())
    }

    /// Settings and counters now.
    #[must_use]
    pub fn read(&self, error: Option<String>) -> Answer {
        let shared = self.lock();
        Answer {
            at_ns: monotonic_ns(),
            error,
            settings: shared.settings,
            counters: shared.counters,
        }
    }

    /// Ends [`Pump::run`] at its next wake-up, within a second.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// A wire between two interfaces.
#[derive(Debug)]
pub struct Pump {
    sockets: [PacketSocket; 2],
    directions: [Direction; 2],
    handle: Handle,
}

impl Pump {
    /// Opens both interfaces in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When one of them does not exist, or without permission.
    pub fn open(a: &str, b: &str, seed: u64, handle: Handle) -> Result<Self, SocketError> {
        Ok(Self {
            sockets: [PacketSocket::open(a)?, PacketSocket::open(b)?],
            // Directions must not share their draws, else the order of arrival at the two ends would decide.
            directions: [
                Direction::new(seed),
                Direction::new(seed ^ 0x5bd1_e995_7b1d_cdaf),
            ],
            handle,
        })
    }

    /// Moves frames until [`Handle::stop`].
    pub fn run(mut self) {
        let mut buffer = vec![0u8; FRAME];
        while !self.handle.stop.load(Ordering::SeqCst) {
            self.sleep();
            let settings = self.handle.lock().settings;
            for (index, settings) in settings.iter().enumerate() {
                self.receive(index, settings, &mut buffer);
            }
            for (index, settings) in settings.iter().enumerate() {
                let (direction, out) = (&mut self.directions[index], &self.sockets[1 - index]);
                let (mut sent, mut refused) = (0, 0);
                direction.release(monotonic_ns(), settings, |frame| {
                    if out.send(frame) {
                        sent += 1;
                    } else {
                        refused += 1;
                    }
                });
                direction.counters.sent += sent;
                direction.counters.refused += refused;
            }
            self.handle.lock().counters =
                [self.directions[0].counters, self.directions[1].counters];
        }
    }

    fn sleep(&self) {
        let due = self
            .directions
            .iter()
            .filter_map(Direction::next_due_ns)
            .min();
        let longest = 1_000_000_000;
        let wait = due.map_or(longest, |due| {
            due.saturating_sub(monotonic_ns()).min(longest)
        });
        let mut fds = self
            .sockets
            .each_ref()
            .map(|s| PollFd::new(std::os::fd::AsFd::as_fd(s), PollFlags::POLLIN));
        // An interrupted poll is a wake-up like any other.
        let _ = ppoll(
            &mut fds,
            Some(TimeSpec::from_duration(std::time::Duration::from_nanos(
                wait,
            ))),
            None,
        );
    }

    fn receive(&mut self, index: usize, settings: &Settings, buffer: &mut [u8]) {
        let direction = &mut self.directions[index];
        let (from, to) = (&self.sockets[index], &self.sockets[1 - index]);
        let now = monotonic_ns();
        for _ in 0..BURST {
            let Some(frame) = from.receive(buffer) else {
                return;
            };
            if direction.offer(now, frame, settings) {
                if to.send(frame) {
                    direction.counters.sent += 1;
                } else {
                    direction.counters.refused += 1;
                }
            }
        }
    }
}
