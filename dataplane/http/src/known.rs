//! What is known of the instances of one name, and the draw among them.

use std::sync::Arc;
use std::time::Instant as Time;

use dmsc_pod::Pin;
use dmsc_quic::replicas::{Replica, Replicas};
use dmsc_wire::AttachmentId;

use crate::instance::Instance;

/// Of one name.
#[derive(Debug)]
pub(crate) struct Known<T> {
    pub list: Vec<Candidate<T>>,
    /// What the gateway told last.
    told: Vec<dmsc_pod::Instance>,
    /// What servers at other gateways tell of those beside them.
    replicas: Replicas,
    pub telling: Telling,
    /// Whichever the network chooses, for when nobody says where instances are.
    pub network: Arc<Instance<T>>,
}

/// Whether the list is the gateway's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// It has not answered yet.
    NotYet,
    /// It tells changes at the moment.
    Now,
    /// It does not, or no longer. What was known stays: it is better than nothing while the control plane is away.
    No,
}

/// An instance, and how it stands among others.
#[derive(Debug)]
pub(crate) struct Candidate<T> {
    pub instance: Arc<Instance<T>>,
    /// Health, then distance: the least is best.
    rank: (u8, u32),
    weight: u64,
}

impl<T: Default> Default for Known<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            told: Vec::new(),
            replicas: Replicas::default(),
            telling: Telling::NotYet,
            network: Instance::new(None),
        }
    }
}

impl<T> Known<T> {
    pub fn is_served(&self) -> bool {
        self.telling == Telling::No || !self.list.is_empty()
    }

    /// In one pass and without allocation: of the best so far, two at random are kept.
    pub fn draw(&self, tried: &[Option<Pin>]) -> Option<&Arc<Instance<T>>> {
        let now = Time::now();
        let (mut best, mut count, mut two) = (None, 0_usize, [None; 2]);
        for one in &self.list {
            if tried.contains(&one.instance.pin) {
                continue;
            }
            let grade = (one.instance.rests(now), one.rank);
            if best.is_some_and(|best| best < grade) {
                continue;
            }
            if best != Some(grade) {
                (best, count, two) = (Some(grade), 0, [None; 2]);
            }
            count += 1;
            let at = match count {
                1 | 2 => count - 1,
                _ => rand::random_range(0..count),
            };
            if let Some(place) = two.get_mut(at) {
                *place = Some(one);
            }
        }
        match two {
            [Some(one), Some(other)] => Some(one.less_busy(other)),
            [one, _] => one.map(|one| &one.instance),
        }
    }
}

impl<T> Candidate<T> {
    /// The one with fewer calls per weight; either of them, if there is no difference.
    fn less_busy<'a>(&'a self, other: &'a Self) -> &'a Arc<Instance<T>> {
        let load = |one: &Self, beside: &Self| {
            (u64::from(one.instance.in_flight()) + 1).saturating_mul(beside.weight)
        };
        let takes = match load(self, other).cmp(&load(other, self)) {
            std::cmp::Ordering::Less => self,
            std::cmp::Ordering::Greater => other,
            std::cmp::Ordering::Equal if rand::random() => self,
            std::cmp::Ordering::Equal => other,
        };
        &takes.instance
    }
}

impl<T: Default> Known<T> {
    /// The gateway told these. Whether anybody is not there any more.
    pub fn learn(&mut self, told: Vec<dmsc_pod::Instance>) -> bool {
        (self.told, self.telling) = (told, Telling::Now);
        self.list_anew()
    }

    /// Servers told these. Whether anybody is not there any more.
    pub fn hear(&mut self, replicas: Replicas) -> bool {
        self.replicas = replicas;
        self.list_anew()
    }

    /// Those that were there keep what was learned of them.
    fn list_anew(&mut self) -> bool {
        let before = std::mem::take(&mut self.list);
        let told = std::mem::take(&mut self.told);
        for one in &told {
            let replicas = match one.attachment {
                AttachmentId::ANY => self.replicas.at(one.gateway),
                _ => &[],
            };
            if replicas.is_empty() {
                let candidate = Self::candidate(one, None, &self.list, &before);
                self.list.push(candidate);
            }
            for replica in replicas {
                let candidate = Self::candidate(one, Some(replica), &self.list, &before);
                self.list.push(candidate);
            }
        }
        self.told = told;
        // A gateway stands for its pods.
        let stays = |one: &Candidate<T>| {
            let pin = one.instance.pin;
            let any = pin.is_some_and(|pin| pin.attachment == AttachmentId::ANY);
            self.list.iter().any(|other| {
                let gateway = |pin: Option<Pin>| pin.map(|pin| pin.gateway);
                other.instance.pin == pin || any && gateway(other.instance.pin) == gateway(pin)
            })
        };
        !before.iter().all(stays)
    }

    fn candidate(
        told: &dmsc_pod::Instance,
        replica: Option<&Replica>,
        list: &[Candidate<T>],
        before: &[Candidate<T>],
    ) -> Candidate<T> {
        let pin = Some(Pin {
            gateway: told.gateway,
            attachment: replica.map_or(told.attachment, |replica| replica.attachment),
        });
        // Who is told twice is one.
        let known = list.iter().chain(before);
        let known = known.map(|one| &one.instance).find(|one| one.pin == pin);
        let word = replica.map_or(told.health.as_str(), |replica| replica.health.as_str());
        Candidate {
            instance: known.map_or_else(|| Instance::new(pin), Arc::clone),
            rank: (health(word), told.metric),
            weight: u64::from(told.weight.max(1)),
        }
    }
}

/// Who wants fewer calls comes later, then who wants none, and last who does not answer its gateway.
fn health(word: &str) -> u8 {
    match word {
        "serving" | "unknown" => 0,
        "draining" => 2,
        "unreachable" => 3,
        _ => 1,
    }
}
