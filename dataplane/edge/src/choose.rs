//! Which instance a call goes to.
//!
//! Of the nearest instances that are well, the less busy of two drawn at random. One that took no call rests for a second; if all rest, any is tried.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_pod::Pin;
use dmsc_quic::Endpoint;
use dmsc_wire::NameBuf;
use rand::Rng;
use tokio::sync::watch;
use tracing::debug;

use crate::outbound::Pool;
use crate::stats::{Direction, NameStats, QuicConnection, Stats};

/// Names that are watched at the same time.
const MAX_NAMES: usize = 4_096;
/// How long an instance is left alone that took no call.
const REST: Duration = Duration::from_secs(1);
/// How long a name may have no instance until that is believed: routes come and go while they converge.
const NOBODY: Duration = Duration::from_secs(1);
/// Between two attempts to have a name's instances told.
const AGAIN: Duration = Duration::from_millis(500);

/// One instance of a name, and what was learned of it.
#[derive(Debug)]
pub struct Instance {
    /// Where it is; `None`: the network chooses, because the gateway does not tell.
    pub pin: Option<Pin>,
    in_flight: AtomicU32,
    rests_until: Mutex<Option<Instant>>,
    /// HTTP connections to its program.
    pub(crate) pool: Pool,
    /// The QUIC connection that was used last.
    pub(crate) quic: Mutex<Option<Arc<QuicConnection>>>,
}

impl Instance {
    fn new(pin: Option<Pin>) -> Self {
        Self {
            pin,
            in_flight: AtomicU32::new(0),
            rests_until: Mutex::default(),
            pool: Pool::default(),
            quic: Mutex::default(),
        }
    }

    /// It took no call: others are asked for a while.
    pub fn rest(&self) {
        *lock(&self.rests_until) = Some(Instant::now() + REST);
    }

    fn rests(&self, now: Instant) -> bool {
        let mut until = lock(&self.rests_until);
        if until.is_some_and(|until| until <= now) {
            *until = None;
        }
        until.is_some()
    }

    /// Calls that it has.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

/// An instance that was chosen; it counts as busy with one call more until this is dropped.
#[derive(Debug)]
pub struct Chosen(Arc<Instance>);

impl Chosen {
    fn new(instance: &Arc<Instance>) -> Self {
        instance.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(instance))
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl std::ops::Deref for Chosen {
    type Target = Arc<Instance>;
    fn deref(&self) -> &Arc<Instance> {
        &self.0
    }
}

/// An instance as it was told: lower ranks are taken first.
#[derive(Debug, Clone)]
struct Candidate {
    rank: (u8, u32),
    instance: Arc<Instance>,
}

#[derive(Debug, Clone)]
enum Known {
    NotYet,
    /// In order of rank.
    Told(Arc<[Candidate]>),
}

/// A name that is called.
#[derive(Debug)]
pub struct Callee {
    /// The name.
    pub name: NameBuf,
    /// Its counters.
    pub stats: Arc<NameStats>,
    known: watch::Receiver<Known>,
    used: AtomicU64,
}

impl Callee {
    /// An instance that is not among those tried before, if there is such. `None`: nobody serves the name, or `deadline` is over.
    pub async fn choose(&self, tried: &[Option<Pin>], deadline: Instant) -> Option<Chosen> {
        // As a rule the list is there, and nobody waits.
        if let Some(chosen) = self.pick(tried) {
            return Some(chosen);
        }
        let mut known = self.known.clone();
        let wait = async {
            let told = known.wait_for(|known| matches!(known, Known::Told(_)));
            told.await.ok()?;
            let some = |known: &Known| matches!(known, Known::Told(list) if !list.is_empty());
            let some = known.wait_for(some);
            tokio::time::timeout(NOBODY, some).await.ok()?.ok()?;
            Some(())
        };
        tokio::time::timeout_at(deadline.into(), wait)
            .await
            .ok()??;
        self.pick(tried)
    }

    /// The instances that are known.
    #[must_use]
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        match &*self.known.borrow() {
            Known::NotYet => Vec::new(),
            Known::Told(list) => list.iter().map(|one| Arc::clone(&one.instance)).collect(),
        }
    }

    fn pick(&self, tried: &[Option<Pin>]) -> Option<Chosen> {
        let known = self.known.borrow();
        let Known::Told(list) = &*known else {
            return None;
        };
        let now = Instant::now();
        let fresh = |one: &&Candidate| !tried.contains(&one.instance.pin);
        let awake = |one: &&Candidate| fresh(one) && !one.instance.rests(now);
        draw(list, awake)
            .or_else(|| draw(list, fresh))
            .or_else(|| draw(list, |_| true))
            .map(Chosen::new)
    }
}

/// The less busy of two, drawn from those of the lowest rank that pass.
fn draw(list: &[Candidate], passes: impl Fn(&&Candidate) -> bool) -> Option<&Arc<Instance>> {
    let first = list.iter().find(&passes)?;
    let of_rank = || {
        list.iter()
            .filter(|one| one.rank == first.rank)
            .filter(&passes)
    };
    let count = of_rank().count();
    if count == 1 {
        return Some(&first.instance);
    }
    let mut random = rand::rng();
    let one = random.random_range(0..count);
    let other = (one + random.random_range(1..count)) % count;
    let (one, other) = (of_rank().nth(one)?, of_rank().nth(other)?);
    if other.instance.in_flight() < one.instance.in_flight() {
        Some(&other.instance)
    } else {
        Some(&one.instance)
    }
}

/// All names that a pod calls.
#[derive(Debug)]
pub struct Chooser {
    endpoint: Arc<Endpoint>,
    stats: Arc<Stats>,
    began: Instant,
    names: Mutex<HashMap<NameBuf, Arc<Callee>>>,
}

impl Chooser {
    /// Asks the gateway of `endpoint`'s pod.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, stats: Arc<Stats>) -> Self {
        Self {
            endpoint,
            stats,
            began: Instant::now(),
            names: Mutex::default(),
        }
    }

    /// What is known of a name; it is watched from now on. Must be called in the pod's runtime.
    #[must_use]
    pub fn callee(&self, name: &NameBuf) -> Arc<Callee> {
        let mut names = lock(&self.names);
        let now = self.began.elapsed().as_secs();
        if let Some(found) = names.get(name) {
            found.used.store(now, Relaxed);
            return Arc::clone(found);
        }
        if names.len() >= MAX_NAMES {
            make_room(&mut names);
        }
        let (told, known) = watch::channel(Known::NotYet);
        tokio::spawn(watch(Arc::clone(&self.endpoint), name.clone(), told));
        let new = Arc::new(Callee {
            name: name.clone(),
            stats: self.stats.of(Direction::Out, Some(name)),
            known,
            used: AtomicU64::new(now),
        });
        names.insert(name.clone(), Arc::clone(&new));
        new
    }

    /// All names that are watched.
    #[must_use]
    pub fn callees(&self) -> Vec<Arc<Callee>> {
        lock(&self.names).values().cloned().collect()
    }
}

/// Forgets the half that was not used for longest; calls that go on keep what they have.
fn make_room(names: &mut HashMap<NameBuf, Arc<Callee>>) {
    let mut ages: Vec<u64> = names.values().map(|one| one.used.load(Relaxed)).collect();
    let middle = ages.len() / 2;
    let (_, limit, _) = ages.select_nth_unstable(middle);
    let limit = *limit;
    let mut left = middle;
    names.retain(|_, one| {
        let goes = one.used.load(Relaxed) <= limit && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

/// Until nobody has the name any more.
async fn watch(endpoint: Arc<Endpoint>, name: NameBuf, told: watch::Sender<Known>) {
    loop {
        tokio::select! {
            () = told.closed() => return,
            () = follow(&endpoint, &name, &told) => {}
        }
        // What was told stays; if nothing was, the network chooses.
        told.send_if_modified(|known| {
            let nothing = matches!(known, Known::NotYet);
            if nothing {
                *known = Known::Told(Arc::new([Candidate {
                    rank: (0, 0),
                    instance: Arc::new(Instance::new(None)),
                }]));
            }
            nothing
        });
        tokio::select! {
            () = told.closed() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn follow(endpoint: &Endpoint, name: &NameBuf, told: &watch::Sender<Known>) {
    let mut resolution = match endpoint.pod().resolve(name).await {
        Ok(resolution) => resolution,
        Err(error) => return debug!(%name, %error, "instances are not told"),
    };
    loop {
        match resolution.next().await {
            Ok(Some(instances)) => {
                told.send_modify(|known| *known = merge(known, &instances));
            }
            Ok(None) => return,
            Err(error) => return debug!(%name, %error, "instances are told no longer"),
        }
    }
}

/// Instances that were known before keep what was learned of them.
fn merge(before: &Known, told: &[dmsc_pod::Instance]) -> Known {
    let before: &[Candidate] = match before {
        Known::NotYet => &[],
        Known::Told(list) => list,
    };
    let mut list: Vec<Candidate> = told
        .iter()
        .map(|one| {
            let pin = Some(Pin {
                gateway: one.gateway,
                attachment: one.attachment,
            });
            let known = before.iter().find(|known| known.instance.pin == pin);
            Candidate {
                rank: (rank(&one.health), one.metric),
                instance: known.map_or_else(
                    || Arc::new(Instance::new(pin)),
                    |known| Arc::clone(&known.instance),
                ),
            }
        })
        .collect();
    list.sort_by_key(|one| one.rank);
    Known::Told(list.into())
}

/// Who wants fewer calls comes later, who wants none last.
fn rank(health: &str) -> u8 {
    match health {
        "overloaded" => 1,
        "draining" => 2,
        _ => 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use dmsc_wire::{AttachmentId, NodeId};

    use super::*;

    fn told(instances: &[(u32, u32, &str)]) -> Vec<dmsc_pod::Instance> {
        let one = |&(gateway, metric, health): &(u32, u32, &str)| dmsc_pod::Instance {
            gateway: NodeId(gateway),
            attachment: AttachmentId(1),
            metric,
            weight: 1,
            health: health.to_owned(),
        };
        instances.iter().map(one).collect()
    }

    fn callee(instances: &[(u32, u32, &str)]) -> (watch::Sender<Known>, Callee) {
        let (sender, known) = watch::channel(merge(&Known::NotYet, &told(instances)));
        let name = NameBuf::parse("/shop/cart").unwrap();
        let stats = Stats::new("a").of(Direction::Out, Some(&name));
        let used = AtomicU64::new(0);
        let callee = Callee {
            name,
            stats,
            known,
            used,
        };
        (sender, callee)
    }

    fn gateway(chosen: &Chosen) -> u32 {
        chosen.pin.unwrap().gateway.0
    }

    #[test]
    fn the_nearest_that_is_well_and_less_busy() {
        let (_sender, callee) = callee(&[
            (1, 5, "draining"),
            (2, 10, "serving"),
            (3, 10, "unknown"),
            (4, 20, "serving"),
        ]);
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(callee.pick(&[]).unwrap());
        }
        let count = |id| held.iter().filter(|one| gateway(one) == id).count();
        assert_eq!((count(2), count(3)), (50, 50));
        // One that rests is left alone, and one that was tried too.
        callee
            .instances()
            .iter()
            .find(|one| one.pin.unwrap().gateway.0 == 2)
            .unwrap()
            .rest();
        let third = callee.pick(&[]).unwrap();
        assert_eq!(gateway(&third), 3);
        assert_eq!(gateway(&callee.pick(&[third.pin]).unwrap()), 4);
    }

    #[test]
    fn all_that_rest_are_tried_all_the_same() {
        let (sender, callee) = callee(&[(1, 1, "serving")]);
        callee.instances()[0].rest();
        let chosen = callee.pick(&[]).unwrap();
        assert_eq!(gateway(&callee.pick(&[chosen.pin]).unwrap()), 1);
        // What was learned stays when the list is told again.
        let again = merge(
            &sender.borrow(),
            &told(&[(1, 7, "serving"), (2, 7, "serving")]),
        );
        sender.send_replace(again);
        assert_eq!(callee.instances()[0].in_flight(), 1);
        assert_eq!(gateway(&callee.pick(&[]).unwrap()), 2, "1 rests");
        sender.send_replace(merge(&Known::NotYet, &[]));
        assert!(callee.pick(&[]).is_none());
    }
}
