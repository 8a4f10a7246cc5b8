//! The instances of a name, and which of them takes the next call.
//!
//! The gateway tells its own pods one by one, and of others their gateways; servers there tell of which pods these have ([`dmsc_quic::replicas`]).
//! Those that were not tried for this call, of these the ones that do not rest, are well and are nearest; of two drawn at random, the one with less to do.

use std::sync::Arc;
use std::time::Duration;

use dmsc_pod::Pin;
use dmsc_quic::Endpoint;
use dmsc_wire::NameBuf;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use crate::instance::{Chosen, Instance};
use crate::known::{Known, Telling};

/// Between two questions to a registrar that is away, or does not tell more names: twice as long every time, up to a limit.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const ASK_SELDOM: Duration = Duration::from_secs(16);

/// What the gateway says of a name, followed until this is dropped. `T` is what the caller keeps for each instance.
#[derive(Debug)]
pub struct Instances<T = ()>(watch::Receiver<Known<T>>);

impl<T: Default + Send + Sync + 'static> Instances<T> {
    /// Asks the gateway of the endpoint's pod from now on. Must be called in a tokio runtime.
    #[must_use]
    pub fn follow(endpoint: &Arc<Endpoint>, name: NameBuf) -> Self {
        let (told, known) = watch::channel(Known::default());
        tokio::spawn(follow(Arc::clone(endpoint), name, told));
        Self(known)
    }

    /// Those of a list that does not change, for who knows better than the gateway, or has none.
    #[must_use]
    pub fn of(list: &[dmsc_pod::Instance]) -> Self {
        let mut known = Known::default();
        known.learn(list.to_vec());
        Self(watch::channel(known).1)
    }
}

impl<T> Instances<T> {
    /// Until the gateway has answered once, or said that it does not; `limit` at most.
    pub async fn asked(&self, limit: Duration) {
        if self.0.borrow().telling != Telling::NotYet {
            return;
        }
        let mut known = self.0.clone();
        let answered = known.wait_for(|known| known.telling != Telling::NotYet);
        let _ = Box::pin(timeout(limit, answered)).await;
    }

    /// Whether there is somebody to call. When the gateway says that there is nobody, that is believed after `limit` only: routes come and go while they
    /// converge.
    pub async fn served(&self, limit: Duration) -> bool {
        if self.0.borrow().is_served() {
            return true;
        }
        let mut known = self.0.clone();
        let served = Box::pin(timeout(limit, known.wait_for(Known::is_served))).await;
        matches!(served, Ok(Ok(_)))
    }

    /// An instance that is not among those tried before; one for the network to choose if the gateway tells none, or does not tell at the moment. `None`: all there
    /// are have been tried.
    #[must_use]
    pub fn choose(&self, tried: &[Option<Pin>]) -> Option<Chosen<T>> {
        let known = self.0.borrow();
        known.draw(tried).map(Chosen::new).or_else(|| {
            let untold = known.list.is_empty() || known.telling != Telling::Now;
            untold.then(|| Chosen::new(&known.network))
        })
    }

    /// All that are known, the one that stands for the network's choice included.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Instance<T>>> {
        let known = self.0.borrow();
        let told = known.list.iter().map(|one| &one.instance);
        told.chain([&known.network]).cloned().collect()
    }
}

/// Until nobody has the name any more.
async fn follow<T: Default>(endpoint: Arc<Endpoint>, name: NameBuf, told: watch::Sender<Known<T>>) {
    tokio::select! {
        () = told.closed() => {}
        () = ask(&endpoint, &name, &told) => {}
        () = hear(&endpoint, &name, &told) => {}
    }
}

/// What the gateway tells.
async fn ask<T: Default>(endpoint: &Endpoint, name: &NameBuf, told: &watch::Sender<Known<T>>) {
    let mut pause = ASK_AGAIN;
    loop {
        if listen(endpoint, name, told).await {
            pause = ASK_AGAIN;
        }
        told.send_modify(|known| known.telling = Telling::No);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_SELDOM);
    }
}

/// What servers tell, also while the gateway does not.
async fn hear<T: Default>(endpoint: &Endpoint, name: &NameBuf, told: &watch::Sender<Known<T>>) {
    let mut replicas = endpoint.replicas(name);
    // Its sender is there as long as somebody follows it.
    while replicas.changed().await.is_ok() {
        let now = replicas.borrow_and_update().clone();
        change(endpoint, told, |known| known.hear(now));
    }
}

/// Until the gateway tells no more; whether it told anything.
async fn listen<T: Default>(
    endpoint: &Endpoint,
    name: &NameBuf,
    told: &watch::Sender<Known<T>>,
) -> bool {
    let mut answered = false;
    let mut resolution = match endpoint.pod().resolve(name).await {
        Ok(resolution) => resolution,
        Err(error) => {
            debug!(%name, %error, "instances are not told");
            return answered;
        }
    };
    loop {
        match resolution.next().await {
            Ok(Some(instances)) => {
                answered = true;
                change(endpoint, told, |known| known.learn(instances));
            }
            Ok(None) => return answered,
            Err(error) => {
                debug!(%name, %error, "instances are told no longer");
                return answered;
            }
        }
    }
}

/// Changes what is known; `how` says whether an instance is gone.
fn change<T>(
    endpoint: &Endpoint,
    told: &watch::Sender<Known<T>>,
    how: impl FnOnce(&mut Known<T>) -> bool,
) {
    let mut left = false;
    told.send_modify(|known| left = how(known));
    if left {
        // It may have been revoked: then its connections are to end, and no new ones to be made.
        endpoint.pod().refresh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(at: &str, metric: u32, health: &str) -> dmsc_pod::Instance {
        let place: Pin = at.parse().unwrap();
        dmsc_pod::Instance {
            gateway: place.gateway,
            attachment: place.attachment,
            metric,
            weight: 1,
            health: health.into(),
        }
    }

    fn pin(text: &str) -> Option<Pin> {
        Some(text.parse().unwrap())
    }

    fn place(choice: &Option<Chosen>) -> String {
        let place = choice.as_ref().unwrap().pin.unwrap();
        format!("{}:{}", place.gateway, place.attachment)
    }

    fn rest(known: &Instances, at: &str) {
        let all = known.all();
        all.iter().find(|one| one.pin == pin(at)).unwrap().rest();
    }

    #[test]
    fn nearest_healthy_and_rested_come_first_and_nobody_is_left_out() {
        let (told, known) = watch::channel(Known::default());
        let known = Instances(known);
        told.send_modify(|known| {
            known.learn(vec![
                instance("1:1", 5, "serving"),
                instance("2:1", 1, "draining"),
                instance("3:1", 10, "unknown"),
                instance("4:1", 1, "overloaded"),
            ]);
        });
        for _ in 0..20 {
            assert_eq!(place(&known.choose(&[])), "1:1");
        }
        assert_eq!(place(&known.choose(&[pin("1:1")])), "3:1");
        rest(&known, "1:1");
        assert_eq!(place(&known.choose(&[])), "3:1");
        rest(&known, "3:1");
        assert_eq!(place(&known.choose(&[])), "4:1");
        rest(&known, "4:1");
        let draining = place(&known.choose(&[]));
        assert_eq!(draining, "2:1", "draining is better than resting");
        rest(&known, "2:1");
        assert_eq!(place(&known.choose(&[])), "1:1", "all rest: any");
        let all = ["1:1", "2:1", "3:1", "4:1"].map(pin);
        assert!(known.choose(&all).is_none());
        told.send_modify(|known| known.telling = Telling::No);
        assert!(known.choose(&all).unwrap().pin.is_none());
    }

    #[test]
    fn who_has_less_to_do_is_taken() {
        let list = [
            instance("1:1", 5, "draining"),
            instance("2:1", 10, "serving"),
            instance("3:1", 10, "unknown"),
            instance("4:1", 20, "serving"),
        ];
        let known = Instances::of(&list);
        let held: Vec<_> = (0..100).map(|_| known.choose(&[])).collect();
        let count = |at: &str| held.iter().filter(|one| place(one) == at).count();
        assert_eq!((count("2:1"), count("3:1")), (50, 50));
        drop(held);
        let left: u32 = known.all().iter().map(|one| one.in_flight()).sum();
        assert_eq!(left, 0);
    }

    #[test]
    fn weights_are_shares_and_all_of_many_are_drawn() {
        let mut list: Vec<_> = (1..=2)
            .map(|at| instance(&format!("{at}:1"), 1, "serving"))
            .collect();
        list[0].weight = 3;
        let known: Instances = Instances::of(&list);
        let held: Vec<_> = (0..80).map(|_| known.choose(&[])).collect();
        let heavy = held.iter().filter(|one| place(one) == "1:1").count();
        assert!((55..=65).contains(&heavy), "{heavy} of 80");
        let list: Vec<_> = (1..=9)
            .map(|at| instance(&format!("{at}:1"), 1, "serving"))
            .collect();
        let known: Instances = Instances::of(&list);
        let _held: Vec<_> = (0..900).map(|_| known.choose(&[])).collect();
        for one in known.all().iter().filter(|one| one.pin.is_some()) {
            assert!((60..=140).contains(&one.in_flight()), "{one:?}");
        }
    }

    #[test]
    fn what_was_learned_stays_when_the_list_is_told_again() {
        let (told, known) = watch::channel(Known::default());
        let known = Instances(known);
        told.send_modify(|known| {
            known.learn(vec![instance("1:1", 1, "serving")]);
        });
        let chosen = known.choose(&[]);
        rest(&known, "1:1");
        told.send_modify(|known| {
            assert!(!known.learn(vec![
                instance("2:1", 7, "serving"),
                instance("1:1", 7, "serving")
            ]));
        });
        assert_eq!(known.all()[1].in_flight(), 1);
        assert_eq!(place(&known.choose(&[])), "2:1", "1:1 rests");
        drop(chosen);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_known_is_for_the_network_to_find_and_is_believed_after_a_while() {
        let (told, known) = watch::channel(Known::default());
        let known: Instances = Instances(known);
        let second = Duration::from_secs(1);
        known.asked(second).await;
        assert!(known.choose(&[]).unwrap().pin.is_none());
        told.send_modify(|known| {
            known.learn(Vec::new());
        });
        known.asked(second).await;
        assert!(!known.served(second).await);
        assert!(known.choose(&[]).unwrap().pin.is_none());
        let (served, ()) = tokio::join!(known.served(second), async {
            told.send_modify(|known| {
                known.learn(vec![instance("1:1", 1, "serving")]);
            });
        });
        assert!(served);
        told.send_modify(|known| (known.list, known.telling) = (Vec::new(), Telling::No));
        assert!(known.served(second).await, "the network may know");
    }
}
