//! The closed loop: a worker that is always busy with its own packets, and beside the loop two neighbours, one of which falls silent.
//! Then the agent tells, and all gateways are programmed without it, as a control plane would.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dmsc_proto::v1::{self, event::Event};
use serde::Serialize;

use super::flows::{Arrivals, Flows};
use crate::rig::{
    Bench, HELLO, Looped, Neighbour, Place, Sampler, Samples, Traffic, behind, next_hops,
};

const DYING: Place = Place(4);
const LIVING: Place = Place(5);
/// What is called. Half of the calls leave by the two neighbours; the others are as many as `load` and `churn` keep the loop full with.
const TRAFFIC: Traffic = Traffic {
    prefixes: 10_000,
    calls_per_s: 200_000,
};
/// Before the first sample of a round.
const WARM_UP: Duration = Duration::from_millis(700);
/// Either phase: without a death, and from the death on.
const SPAN: Duration = Duration::from_secs(1);
/// After the last packet to the dead one.
const AFTER: Duration = Duration::from_millis(400);
/// A death that is not noticed at all.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two turns of the neighbours.
const TICK: Duration = Duration::from_micros(300);
/// Most frames that a neighbour takes at a time.
const BURST: usize = 32;

/// One death.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Round {
    /// From the last hello until the last packet to the dead neighbour, ms.
    pub detection_ms: f64,
    /// In hello intervals.
    pub detection_intervals: f64,
    /// From the last hello until every worker had all gateways without the dead one, ms.
    pub reprogrammed_ms: f64,
    /// Packets that came to the dead neighbour.
    pub packets_lost: u64,
    /// Flows of the living neighbour that did not all stay there, and flows of the loop that came to one of the two.
    pub flows_moved: u64,
    /// Flows of the living one.
    pub flows_of_living: u64,
    /// Flows of the dead one.
    pub flows_of_dead: u64,
    /// Just before.
    pub quiet: Samples,
    /// From the death on.
    pub failing: Samples,
    /// Throughput lost, against `quiet`.
    pub dip_percent: f64,
}

/// What the neighbours heard and shall do.
#[derive(Debug, Default)]
struct Notes {
    /// By flow, since the phase began.
    seen: Arrivals,
    /// Of the phase before the death.
    early: Arrivals,
    shall_die: bool,
    death: Option<Instant>,
    /// The last arrival at the dead one.
    last_at_dead: Option<Instant>,
}

impl Notes {
    fn at_dying(&mut self, now: Instant, flow: u32) {
        self.seen.entry(flow).or_default().dying += 1;
        if self.death.is_some() {
            self.last_at_dead = Some(now);
        }
    }

    fn at_living(&mut self, flow: u32) {
        self.seen.entry(flow).or_default().living += 1;
    }

    /// The one that shall die has just said hello: that was its last.
    fn said(&mut self, now: Instant) {
        if self.shall_die && self.death.is_none() {
            self.death = Some(now);
            self.early = std::mem::take(&mut self.seen);
        }
    }

    /// All is as in the beginning.
    fn clear(&mut self) {
        *self = Notes::default();
    }

    /// A burst of each neighbour, and their hellos; whether there may be more frames.
    fn turn(&mut self, neighbours: &mut [Neighbour; 2]) -> bool {
        let now = Instant::now();
        let [dying, living] = neighbours;
        dying.silent = self.death.is_some();
        let first = dying.turn(now, |_, flow| self.at_dying(now, flow));
        if first.said {
            self.said(now);
        }
        let second = living.turn(now, |_, flow| self.at_living(flow));
        first.frames >= BURST || second.frames >= BURST
    }
}

/// Both neighbours on a thread of their own, which shares its core with agent and client; it ends when this value goes.
struct Ears {
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ears {
    fn open(bench: &Bench, mut neighbours: [Neighbour; 2]) -> anyhow::Result<Ears> {
        let (notes, stop) = (Arc::<Mutex<Notes>>::default(), Arc::<AtomicBool>::default());
        let (noted, stopped) = (Arc::clone(&notes), Arc::clone(&stop));
        let eal = Arc::clone(&bench.eal);
        let thread = std::thread::Builder::new()
            .name("neighbours".into())
            .spawn(move || {
                let _lcore = eal.register_thread(); // without an id the pool's cache is not used
                while !stopped.load(Relaxed) {
                    let more = lock(&noted).turn(&mut neighbours);
                    if !more {
                        std::thread::sleep(TICK);
                    }
                }
            })?;
        Ok(Ears {
            notes,
            stop,
            thread: Some(thread),
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The dataplane and its neighbours.
pub struct Rig {
    looped: Looped,
    ears: Ears,
}

impl Rig {
    /// Starts it and waits until all links are up.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn start(bench: &Bench) -> anyhow::Result<Rig> {
        let places = [DYING, LIVING];
        let (looped, neighbours) = Looped::start_beside(bench, "looped", TRAFFIC, &places).await?;
        let neighbours = neighbours.try_into().ok();
        let neighbours = neighbours.context("there is a neighbour for each place")?;
        let ears = Ears::open(bench, neighbours)?;
        Ok(Rig { looped, ears })
    }

    /// Lets a neighbour die right after a hello while the loop is full, programs the gateways without it, and lets it come back.
    ///
    /// # Errors
    /// When it is not noticed, does not come back, and once a signal came.
    pub async fn kill(&mut self, bench: &Bench) -> anyhow::Result<Round> {
        self.looped.until_up(bench).await?;
        bench.pause(WARM_UP).await?;
        self.ears.notes().clear();
        let sampler = Sampler::start(self.looped.client());
        bench.pause(SPAN).await?;
        let quiet = sampler.stop().await?;
        let death = self.last_hello(bench).await?;
        let sampler = Sampler::start(self.looped.client());
        tokio::time::timeout(LIMIT, self.told())
            .await
            .with_context(|| format!("the agent did not tell of the death within {LIMIT:?}"))??;
        let dataplane = &mut self.looped.dataplane;
        dataplane.apply(behind(&next_hops(&[LIVING]))).await?;
        let reprogrammed = death.elapsed();
        let last = loop {
            bench.pause(Duration::from_millis(10)).await?;
            let last = self.ears.notes().last_at_dead.unwrap_or(death);
            if death.elapsed() >= SPAN && last.elapsed() >= AFTER {
                break last;
            }
            if death.elapsed() >= LIMIT {
                bail!("packets still went to the dead neighbour after {LIMIT:?}");
            }
        };
        let failing = sampler.stop().await?;
        dataplane.check()?;
        let (early, late) = {
            let mut notes = self.ears.notes();
            let phases = (
                std::mem::take(&mut notes.early),
                std::mem::take(&mut notes.seen),
            );
            notes.clear();
            phases
        };
        let all = behind(&next_hops(&[DYING, LIVING]));
        self.looped.dataplane.apply(all).await?;
        let flows = Flows::between(&early, &late);
        let detection = last.saturating_duration_since(death);
        Ok(Round {
            detection_ms: detection.as_secs_f64() * 1000.0,
            detection_intervals: detection.as_secs_f64() / HELLO.as_secs_f64(),
            reprogrammed_ms: reprogrammed.as_secs_f64() * 1000.0,
            packets_lost: late.values().map(|seen| seen.dying).sum(),
            flows_moved: flows.moved + flows.strangers,
            flows_of_living: flows.of_living,
            flows_of_dead: flows.of_dead,
            quiet,
            failing,
            dip_percent: 100.0 * (1.0 - failing.pps / quiet.pps.max(1.0)),
        })
    }

    /// Has the neighbour fall silent after its next hello, and waits for that.
    async fn last_hello(&self, bench: &Bench) -> anyhow::Result<Instant> {
        self.ears.notes().shall_die = true;
        let asked = Instant::now();
        while asked.elapsed() < LIMIT {
            if let Some(death) = self.ears.notes().death {
                return Ok(death);
            }
            bench.pause(Duration::from_millis(1)).await?;
        }
        bail!("the neighbours' thread has ended")
    }

    /// Waits until the agent tells that the adjacency is not up any more, as it tells a control plane.
    async fn told(&self) -> anyhow::Result<()> {
        let news = self.looped.client().watch(v1::WatchRequest {}).await;
        let mut news = news.context("the agent refused Watch")?.into_inner();
        while let Some(event) = news.message().await.context("the agent's news broke off")? {
            if let Some(Event::Adjacency(adjacency)) = event.event
                && adjacency.id == u32::from(DYING.0)
                && adjacency.state != "up"
            {
                return Ok(());
            }
        }
        bail!("the agent's news ended")
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.ears);
        self.looped.stop().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::flows::Seen;

    #[test]
    fn a_neighbour_dies_with_its_next_hello() {
        let mut notes = Notes::default();
        let start = Instant::now();
        notes.said(start);
        assert_eq!(notes.death, None, "nobody asked it to");
        notes.at_dying(start, 7);
        notes.at_living(8);
        notes.shall_die = true;
        notes.at_dying(start, 7);
        assert_eq!((notes.death, notes.last_at_dead), (None, None));
        let death = start + Duration::from_millis(50);
        notes.said(death);
        assert_eq!(notes.death, Some(death));
        assert_eq!(
            notes.early[&7],
            Seen {
                dying: 2,
                living: 0
            }
        );
        let last = death + Duration::from_millis(150);
        notes.at_dying(last, 7);
        notes.said(last);
        assert_eq!((notes.death, notes.last_at_dead), (Some(death), Some(last)));
        assert_eq!(
            notes.seen[&7],
            Seen {
                dying: 1,
                living: 0
            }
        );
        notes.clear();
        assert!(notes.seen.is_empty() && notes.death.is_none() && !notes.shall_die);
    }
}
