//! The names that a pod calls, and which instance a call goes to.
//!
//! [`dmsc_http::Instances`] draws among those that were not tried yet; when all were, any is tried once more.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Time};

use dmsc_http::Instances;
use dmsc_pod::Pin;
use dmsc_quic::Endpoint;
use dmsc_wire::NameBuf;

use crate::outbound::Pool;
use crate::stats::{Direction, NameStats, QuicConnection, Stats};

/// Names that are watched at the same time.
const MAX_NAMES: usize = 4_096;
/// How long the first call of a name waits for the gateway's answer; the network chooses then.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// How long a name may have no instance until that is believed: routes come and go while they converge.
const NOBODY: Duration = Duration::from_secs(1);

/// What is kept for an instance.
#[derive(Debug, Default)]
pub struct Kept {
    /// HTTP connections to its program.
    pub(crate) pool: Pool,
    /// The QUIC connection that was used last.
    pub(crate) quic: Mutex<Option<Arc<QuicConnection>>>,
}

/// One instance of a name, and its connections.
pub type Instance = dmsc_http::Instance<Kept>;
/// An instance that was chosen; it counts as busy with one call more until this is dropped.
pub type Chosen = dmsc_http::Chosen<Kept>;

/// A name that is called.
#[derive(Debug)]
pub struct Callee {
    /// The name.
    pub name: NameBuf,
    /// Its counters.
    pub stats: Arc<NameStats>,
    /// Who serves it.
    pub instances: Instances<Kept>,
    used: AtomicU64,
}

impl Callee {
    /// An instance that is not among those tried before, if there is such. `None`: nobody serves the name, or `deadline` is over.
    pub async fn choose(&self, tried: &[Option<Pin>], deadline: Time) -> Option<Chosen> {
        // As a rule the list is there, and nobody waits.
        let left = deadline.saturating_duration_since(Time::now());
        self.instances.asked(left.min(FIRST_ANSWER)).await;
        let left = deadline.saturating_duration_since(Time::now());
        if !self.instances.served(left.min(NOBODY)).await {
            return None;
        }
        self.pick(tried)
    }

    fn pick(&self, tried: &[Option<Pin>]) -> Option<Chosen> {
        let fresh = self.instances.choose(tried);
        fresh.or_else(|| self.instances.choose(&[]))
    }
}

/// All names that a pod calls.
#[derive(Debug)]
pub struct Chooser {
    endpoint: Arc<Endpoint>,
    stats: Arc<Stats>,
    began: Time,
    names: Mutex<HashMap<NameBuf, Arc<Callee>>>,
}

impl Chooser {
    /// Asks the gateway of `endpoint`'s pod.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, stats: Arc<Stats>) -> Self {
        Self {
            endpoint,
            stats,
            began: Time::now(),
            names: Mutex::default(),
        }
    }

    /// What is known of a name; it is watched from now on. Must be called in the pod's runtime.
    #[must_use]
    pub fn callee(&self, name: &NameBuf) -> Arc<Callee> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed().as_secs();
        if let Some(found) = names.get(name) {
            found.used.store(now, Relaxed);
            return Arc::clone(found);
        }
        if names.len() >= MAX_NAMES {
            make_room(&mut names);
        }
        let new = Arc::new(Callee {
            name: name.clone(),
            stats: self.stats.of(Direction::Out, Some(name)),
            instances: Instances::follow(&self.endpoint, name.clone()),
            used: AtomicU64::new(now),
        });
        names.insert(name.clone(), Arc::clone(&new));
        new
    }

    /// All names that are watched.
    #[must_use]
    pub fn callees(&self) -> Vec<Arc<Callee>> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.values().cloned().collect()
    }
}

/// Forgets the half that was not used for longest; calls that go on keep what they have.
fn make_room(names: &mut HashMap<NameBuf, Arc<Callee>>) {
    let mut ages: Vec<u64> = names.values().map(|one| one.used.load(Relaxed)).collect();
    let half = ages.len() / 2;
    let (older, limit, _) = ages.select_nth_unstable(half);
    let limit = *limit;
    // Of those that were used in the same second, as many as it takes.
    let mut left = older.iter().filter(|age| **age == limit).count();
    names.retain(|_, one| match one.used.load(Relaxed).cmp(&limit) {
        Ordering::Less => false,
        Ordering::Equal if left > 0 => {
            left -= 1;
            false
        }
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use dmsc_wire::{AttachmentId, NodeId};

    use super::*;

    fn callee(text: &str, gateways: &[u32], used: u64) -> Callee {
        let one = |gateway: &u32| dmsc_pod::Instance {
            gateway: NodeId(*gateway),
            attachment: AttachmentId(1),
            metric: 1,
            weight: 1,
            health: "serving".to_owned(),
        };
        let told: Vec<_> = gateways.iter().map(one).collect();
        let name = NameBuf::parse(text).unwrap();
        Callee {
            stats: Stats::new("a").of(Direction::Out, Some(&name)),
            name,
            instances: Instances::of(&told),
            used: AtomicU64::new(used),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_were_tried_or_rest_are_tried_all_the_same() {
        let deadline = Time::now() + Duration::from_secs(15);
        let cart = callee("/shop/cart", &[1, 2], 0);
        let first = cart.choose(&[], deadline).await.unwrap();
        first.rest();
        let second = cart.choose(&[first.pin], deadline).await.unwrap();
        assert_ne!(first.pin, second.pin);
        let again = cart.choose(&[first.pin, second.pin], deadline).await;
        assert_eq!(again.unwrap().pin, second.pin, "the other one rests");
        second.rest();
        assert!(cart.choose(&[], deadline).await.is_some());
        let nobody = callee("/shop/nobody", &[], 0);
        assert!(nobody.choose(&[], deadline).await.is_none());
    }

    #[test]
    fn the_half_that_was_not_used_for_longest_makes_room() {
        let mut names: HashMap<_, _> = (0..10)
            .map(|number| callee(&format!("/shop/{number}"), &[], number))
            .map(|callee| (callee.name.clone(), Arc::new(callee)))
            .collect();
        make_room(&mut names);
        let mut left: Vec<_> = names.values().map(|one| one.used.load(Relaxed)).collect();
        left.sort_unstable();
        assert_eq!(left, [5, 6, 7, 8, 9]);
    }
}
