//! The instances of a name, and which of them takes the next call.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dmsc_pod::{Instance, Pin};
use dmsc_quic::Endpoint;
use dmsc_wire::NameBuf;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::debug;

/// How long an instance that did not take a call is passed over.
const REST: Duration = Duration::from_secs(1);
/// Between two questions to a registrar that is away, or does not tell more names: twice as long every time, up to a limit.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_SELDOM: Duration = Duration::from_secs(16);
/// How long the first call waits for the registrar; the network chooses the instance when it does not answer.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

/// Follows what the gateway says, until dropped.
#[derive(Debug)]
pub(crate) struct Instances {
    known: Arc<Mutex<Known>>,
    asked: watch::Receiver<bool>,
    follower: AbortHandle,
}

#[derive(Debug, Default)]
struct Known {
    list: Vec<Candidate>,
    /// Whether the gateway tells changes at the moment.
    followed: bool,
}

#[derive(Debug)]
struct Candidate {
    place: Pin,
    metric: u32,
    weight: u64,
    healthy: bool,
    rests_until: Option<Instant>,
    in_flight: Arc<AtomicUsize>,
}

/// Where a call goes.
#[derive(Debug)]
pub(crate) enum Choice {
    /// To this one; it counts as under way there until dropped.
    At { place: Pin, _flight: Flight },
    /// Wherever the network takes it: nobody says where instances are.
    Network,
}

impl Choice {
    pub const fn place(&self) -> Option<Pin> {
        match self {
            Self::At { place, .. } => Some(*place),
            Self::Network => None,
        }
    }
}

/// A call under way at an instance.
#[derive(Debug)]
pub(crate) struct Flight(Arc<AtomicUsize>);

impl Flight {
    fn start(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Instances {
    pub fn follow(endpoint: Arc<Endpoint>, name: NameBuf) -> Self {
        let known = Arc::new(Mutex::default());
        let (sender, asked) = watch::channel(false);
        let task = tokio::spawn(follow(endpoint, name, Arc::clone(&known), sender));
        Self {
            known,
            asked,
            follower: task.abort_handle(),
        }
    }

    /// Until the gateway has answered once, or not for too long.
    pub async fn asked(&self) {
        if *self.asked.borrow() {
            return;
        }
        let mut asked = self.asked.clone();
        let first = asked.wait_for(|asked| *asked);
        let _ = tokio::time::timeout(FIRST_ANSWER, first).await;
    }

    /// An instance for the next attempt. `None`: all there are have been tried.
    pub fn choose(&self, tried: &[Pin]) -> Option<Choice> {
        let known = lock(&self.known);
        let now = Instant::now();
        let rank = |one: &Candidate| {
            let rests = one.rests_until.is_some_and(|until| now < until);
            (rests, !one.healthy, one.metric)
        };
        let untried = |one: &&Candidate| !tried.contains(&one.place);
        let Some(best) = known.list.iter().filter(untried).map(rank).min() else {
            return (known.list.is_empty() || !known.followed).then_some(Choice::Network);
        };
        let best: Vec<_> = known
            .list
            .iter()
            .filter(untried)
            .filter(|one| rank(one) == best)
            .collect();
        // Two at random, and of these the one with less to do: no herd, and nobody is overrun.
        let draw = || best[rand::random_range(0..best.len())];
        let (one, other) = (draw(), draw());
        let chosen = if other.load_beside(one) < one.load_beside(other) {
            other
        } else {
            one
        };
        Some(Choice::At {
            place: chosen.place,
            _flight: Flight::start(&chosen.in_flight),
        })
    }

    /// This one did not take a call.
    pub fn rest(&self, place: Pin) {
        let mut known = lock(&self.known);
        if let Some(one) = known.list.iter_mut().find(|one| one.place == place) {
            one.rests_until = Some(Instant::now() + REST);
        }
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Candidate {
    /// Calls under way, per weight.
    fn load_beside(&self, other: &Self) -> u64 {
        (self.in_flight.load(Relaxed) as u64 + 1) * other.weight
    }
}

impl Known {
    /// Those that were there keep their counts.
    fn learn(&mut self, instances: Vec<Instance>) {
        let mut before = std::mem::take(&mut self.list);
        self.list = instances
            .into_iter()
            .map(|new| {
                let place = Pin {
                    gateway: new.gateway,
                    attachment: new.attachment,
                };
                let kept = before
                    .iter()
                    .position(|one| one.place == place)
                    .map(|at| before.swap_remove(at));
                let (rests_until, in_flight) = kept.map_or_else(
                    || (None, Arc::default()),
                    |kept| (kept.rests_until, kept.in_flight),
                );
                Candidate {
                    place,
                    metric: new.metric,
                    weight: u64::from(new.weight.max(1)),
                    healthy: matches!(new.health.as_str(), "serving" | "unknown"),
                    rests_until,
                    in_flight,
                }
            })
            .collect();
        self.followed = true;
    }
}

async fn follow(
    endpoint: Arc<Endpoint>,
    name: NameBuf,
    known: Arc<Mutex<Known>>,
    asked: watch::Sender<bool>,
) {
    let mut pause = ASK_AGAIN;
    loop {
        match endpoint.pod().resolve(&name).await {
            Ok(mut resolution) => {
                let why = loop {
                    match resolution.next().await {
                        Ok(Some(instances)) => {
                            pause = ASK_AGAIN;
                            lock(&known).learn(instances);
                            asked.send_replace(true);
                        }
                        Ok(None) => break "the gateway ended the list".to_owned(),
                        Err(error) => break error.to_string(),
                    }
                };
                debug!(%name, why, "instances are not told any more");
            }
            Err(error) => debug!(%name, %error, "instances are not told"),
        }
        // What was known stays: it is better than nothing while the control plane is away.
        lock(&known).followed = false;
        asked.send_replace(true);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_SELDOM);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(at: &str, metric: u32, health: &str) -> Instance {
        let place: Pin = at.parse().unwrap();
        Instance {
            gateway: place.gateway,
            attachment: place.attachment,
            metric,
            weight: 1,
            health: health.into(),
        }
    }

    fn instances(list: Vec<Instance>) -> Instances {
        let mut known = Known::default();
        known.learn(list);
        Instances {
            known: Arc::new(Mutex::new(known)),
            asked: watch::channel(true).1,
            follower: tokio::spawn(async {}).abort_handle(),
        }
    }

    fn place(choice: Option<Choice>) -> String {
        let place = choice.unwrap().place().unwrap();
        format!("{}:{}", place.gateway, place.attachment)
    }

    #[tokio::test]
    async fn nearest_healthy_and_rested_come_first_and_nobody_is_left_out() {
        let known = instances(vec![
            instance("1:1", 5, "serving"),
            instance("2:1", 1, "draining"),
            instance("3:1", 10, "serving"),
        ]);
        let pin = |text: &str| text.parse::<Pin>().unwrap();
        for _ in 0..20 {
            assert_eq!(place(known.choose(&[])), "1:1");
        }
        assert_eq!(place(known.choose(&[pin("1:1")])), "3:1");
        known.rest(pin("1:1"));
        assert_eq!(place(known.choose(&[])), "3:1");
        known.rest(pin("3:1"));
        assert_eq!(
            place(known.choose(&[])),
            "2:1",
            "draining is better than resting"
        );
        known.rest(pin("2:1"));
        assert_eq!(place(known.choose(&[])), "1:1", "all rest: any");
        let all = ["1:1", "2:1", "3:1"].map(pin);
        assert!(known.choose(&all).is_none());
        lock(&known.known).followed = false;
        assert!(matches!(known.choose(&all), Some(Choice::Network)));
    }

    #[tokio::test]
    async fn who_has_less_to_do_is_taken() {
        let list = || vec![instance("1:1", 1, "serving"), instance("2:1", 1, "serving")];
        let known = instances(list());
        let flights: Vec<_> = (0..100).map(|_| known.choose(&[]).unwrap()).collect();
        lock(&known.known).learn(list());
        let loads: Vec<usize> = lock(&known.known)
            .list
            .iter()
            .map(|one| one.in_flight.load(Relaxed))
            .collect();
        assert_eq!(loads.iter().sum::<usize>(), 100);
        assert!(
            loads.iter().all(|load| (40..=60).contains(load)),
            "{loads:?}"
        );
        drop(flights);
        let left = |one: &Candidate| one.in_flight.load(Relaxed);
        assert_eq!(lock(&known.known).list.iter().map(left).sum::<usize>(), 0);
    }

    #[tokio::test]
    async fn nobody_known_is_for_the_network_to_find() {
        let known = instances(Vec::new());
        assert!(matches!(known.choose(&[]), Some(Choice::Network)));
    }
}
