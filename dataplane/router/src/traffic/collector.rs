//! Reads the workers' counts every second, and when somebody asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Accounts, Tally};
use crate::shared::Shared;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(1);
/// Who asks gets counts that are at most so old.
const FRESH: Duration = Duration::from_millis(100);
/// How often a worker's table is looked for, and how long: one that does not come is read the next time.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 50;

/// The reader of all workers.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    /// Random, of this process: whoever keeps sums knows that they began anew.
    epoch: u64,
    accounts: Mutex<Accounts>,
    /// One at a time; an empty table per worker, but where the worker still has it.
    spare: tokio::sync::Mutex<Spare>,
}

#[derive(Debug)]
struct Spare {
    tallies: Vec<Option<Box<Tally>>>,
    read: Option<Instant>,
}

impl Collector {
    /// Over the workers of a dataplane.
    pub fn new(shared: Arc<Shared>, epoch: u64) -> Collector {
        let tallies = shared.workers.iter().map(|_| Some(Box::default()));
        Collector {
            epoch,
            accounts: Mutex::default(),
            spare: tokio::sync::Mutex::new(Spare {
                tallies: tallies.collect(),
                read: None,
            }),
            shared,
        }
    }

    /// Of the sums.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Reads every second, for ever.
    pub async fn run(&self) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.read(Duration::ZERO).await;
        }
    }

    /// What `ask` finds in the sums as they are now.
    pub async fn ask<T>(&self, ask: impl FnOnce(&Accounts) -> T) -> T {
        self.read(FRESH).await;
        ask(&self.accounts())
    }

    /// Changes the sums, of which some reading is from the last second: whoever tells does not make workers be read more often.
    pub async fn tell<T>(&self, tell: impl FnOnce(&mut Accounts) -> T) -> T {
        self.read(EVERY).await;
        tell(&mut self.accounts())
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        // Nothing that holds it panics half way.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all workers, unless somebody did so within `enough`.
    async fn read(&self, enough: Duration) {
        let mut spare = self.spare.lock().await;
        if spare.read.is_some_and(|read| read.elapsed() < enough) {
            return;
        }
        for (worker, tally) in self.shared.workers.iter().zip(&mut spare.tallies) {
            if let Some(empty) = tally.take() {
                *tally = worker.tallies.offer(empty);
            }
            // Who sleeps has what came before it went to sleep.
            worker.bell.ring();
        }
        let clock = self.shared.clock;
        self.accounts().begin(clock.to_ns(dmsc_dpdk::tsc()));
        for look in 1..=LOOKS {
            for (worker, tally) in self.shared.workers.iter().zip(&mut spare.tallies) {
                if tally.is_none()
                    && let Some(mut full) = worker.tallies.take()
                {
                    self.accounts().add(&full, clock);
                    full.clear();
                    *tally = Some(full);
                }
            }
            if spare.tallies.iter().all(Option::is_some) || look == LOOKS {
                break;
            }
            sleep(LOOK).await;
        }
        spare.read = Some(Instant::now());
    }
}
