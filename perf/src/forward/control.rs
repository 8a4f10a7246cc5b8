//! What the measured dataplane is told meanwhile: its mode, what is stamped, when to count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dmsc_dataplane::counters::DropReason;
use dmsc_dataplane::meter::Station;
use dmsc_dataplane::port::Cross;
use dmsc_dataplane::publisher::Publishing;
use dmsc_dataplane::shared::Shared;

use super::belt::{Belt, Wire};
use super::child::Count;
use super::draw::Head;
use super::{Mode, frames_in_loop, tables};

/// Longest wait for neighbours and frames.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the control thread knows.
pub struct Control<'a> {
    /// The dataplane's state.
    pub shared: Arc<Shared>,
    /// Its tables.
    pub publishing: &'a Publishing,
    /// The frames.
    pub belt: &'a Belt,
    /// Whether frames are stamped.
    pub is_on: &'a AtomicBool,
    /// Drawn headers with a gateway.
    pub stamped: [Arc<Vec<Head>>; 2],
    /// And without one.
    pub unresolved: [Arc<Vec<Head>>; 2],
}

impl Control<'_> {
    /// Has the dataplane forward so from here on.
    ///
    /// # Errors
    /// When neighbours do not come up or frames cannot be put in.
    pub fn set(&self, mode: Mode, stamp: bool) -> anyhow::Result<()> {
        self.drain()?;
        self.adjacent()?;
        let view = self.publishing.view();
        let mut wires = Vec::new();
        for port in 0..tables::PORTS.len() {
            let destination = self.shared.ports[1 - port].mac;
            let adjacency = view.tables.adjacencies.on_port(port).first();
            let outer = adjacency.context("no adjacency")?.outer.clone();
            wires.push(Wire {
                offset: outer.len(),
                outer,
                destination,
            });
        }
        let heads = match mode {
            Mode::Mac | Mode::Gateway => self.stamped.clone(),
            Mode::Name => self.unresolved.clone(),
        };
        self.belt.load(heads, wires);
        for (port, state) in self.shared.ports.iter().enumerate() {
            let to = Cross {
                port: 1 - port as u8,
                destination: self.shared.ports[1 - (1 - port)].mac,
            };
            state.tuning.set_cross((mode == Mode::Mac).then_some(to));
        }
        if self.belt.endless {
            // Null ports give what the buffers held, hellos and questions for addresses too: the buffers in use get frames first.
            self.is_on.store(true, Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
        self.is_on.store(stamp, Relaxed);
        self.fill()
    }

    /// Takes all frames out; what of them was lost on the way is not waited for.
    fn drain(&self) -> anyhow::Result<()> {
        if self.belt.endless {
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        self.belt.draining.store(true, Relaxed);
        self.is_on.store(true, Relaxed);
        let look = || {
            (
                self.belt.drained.load(Relaxed),
                self.belt.empty.load(Relaxed),
            )
        };
        let mut before = look();
        // No event tells that nothing more comes: a while in which the workers looked and found nothing does. That they looked matters,
        // for this process was just woken.
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = look();
            if now.0 == before.0 && now.1 != before.1 {
                break;
            }
            if Instant::now() > end {
                self.belt.draining.store(false, Relaxed);
                bail!("frames do not stop coming out of the loop");
            }
            before = now;
        }
        self.belt.draining.store(false, Relaxed);
        Ok(())
    }

    /// Waits until hellos have brought both adjacencies up; null ports have nobody to hear, so they are told.
    fn adjacent(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let tables = self.publishing.view().tables;
        if self.belt.endless {
            for adjacency in tables.adjacencies.iter() {
                let other = self.shared.ports[1 - adjacency.config.port].mac;
                adjacency.neighbour.learn(other, u64::MAX / 4);
                adjacency.live.heard.store(u64::MAX / 4, Relaxed);
                adjacency
                    .live
                    .state
                    .store(dmsc_dataplane::adjacency::State::Up as u8, Relaxed);
            }
            return Ok(());
        }
        while !tables
            .adjacencies
            .iter()
            .all(|a| a.is_up() && a.neighbour.mac().is_some())
        {
            if Instant::now() > end {
                bail!("the two ports do not hear each other's hellos");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn fill(&self) -> anyhow::Result<()> {
        if self.belt.endless {
            return Ok(());
        }
        for wanted in &self.belt.wanted {
            wanted.store(frames_in_loop(self.belt.size) as u32, Relaxed);
        }
        let end = Instant::now() + PATIENCE;
        while self.belt.wanted.iter().any(|w| w.load(Relaxed) > 0) {
            if Instant::now() > end {
                bail!("frames cannot be put into the loop");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Counts for so long.
    pub fn measure(&self, ms: u64) -> Count {
        let (before, start) = (self.read(), Instant::now());
        let stations = self.stations();
        std::thread::sleep(Duration::from_millis(ms));
        let (after, time) = (self.read(), start.elapsed());
        let now = self.stations();
        let between = |before: [u64; Station::ALL.len()], now: [u64; Station::ALL.len()]| {
            std::array::from_fn(|n| now[n] - before[n])
        };
        Count {
            stations: stations.zip(now).map(|(before, now)| between(before, now)),
            packets: after.0 - before.0,
            drops: after.1 - before.1,
            bursts: after.2 - before.2,
            ns: time.as_nanos() as u64,
        }
    }

    fn stations(&self) -> Option<[u64; Station::ALL.len()]> {
        let mut sum = [0; Station::ALL.len()];
        for worker in &self.shared.workers {
            for (sum, station) in sum.iter_mut().zip(Station::ALL) {
                *sum += worker.counters.meter.cycles(station)?;
            }
        }
        Some(sum)
    }

    /// Frames that left, frames dropped, polls that brought some.
    fn read(&self) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        for worker in &self.shared.workers {
            for port in &worker.counters.ports {
                sum.0 += port.tx.get();
                let drops = DropReason::ALL.iter().map(|reason| port.drops(*reason));
                sum.1 += drops.sum::<u64>();
            }
            sum.2 += worker.counters.worker.bursts.get();
        }
        sum
    }
}
