//! The services that live with this gateway: every instance is probed once a second, over the dataplane that calls take, and says how it is. For one that
//! answers no probes (a pod of an older release) stands what the registrar knows of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_scsc::{Health, Histogram, ServiceState};
use dmsc_wire::{AttachmentId, Domain, NameBuf, NodeId, ProbeHealth};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::handle::Handle;
use crate::lease::{self, LeaseTable};
use crate::scsc::service::MAX_PREFIXES;

/// Most instances of services that are looked after; of a gateway with more, those that come later in the order of names are not told.
const MAX_INSTANCES: usize = 16_384;
/// Probes a second; where there are more instances, each has its turn.
const PROBES: usize = 512;
/// Over which they are spread.
const SPREAD: Duration = Duration::from_millis(800);
/// An answer that takes longer is none.
const OVERDUE: Duration = Duration::from_secs(1);
/// What an instance said of itself holds this long beyond its next turn.
const HOLDS: Duration = Duration::from_secs(3);
/// As probes of the ways to other gateways.
const CLASS: u32 = 5;

/// By tenant and prefix; shared by the streams to all centers.
pub(super) type States = Arc<BTreeMap<(Domain, NameBuf), ServiceState>>;

/// One service of one pod.
type Key = (Domain, NameBuf, AttachmentId);

#[derive(Debug, Default)]
struct Instance {
    /// What its pod told the registrar.
    registered: Health,
    /// What it answered last, and when.
    answered: Option<(Instant, Health, u32)>,
    /// µs, since the last second and of the one before: what does not change is told every other second only.
    delays: [Vec<u32>; 2],
}

impl Instance {
    fn state(&self, now: Instant, holds: Duration) -> (Health, u32) {
        match self.answered {
            Some((at, health, load)) if now.duration_since(at) <= holds => (health, load),
            _ => (self.registered, 0),
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Services {
    instances: BTreeMap<Key, Instance>,
    /// The leases that they are of.
    version: Option<u64>,
    /// The last whose turn it was.
    last: Option<Key>,
    under_way: JoinSet<(Key, Option<v1::EchoReply>)>,
}

impl Services {
    /// Takes the next answers; waits forever if there is nothing to wait for.
    pub async fn collect(&mut self) {
        match self.under_way.join_next().await {
            Some(Ok((key, reply))) => self.take(&key, reply),
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, key: &Key, reply: Option<v1::EchoReply>) {
        let (Some(instance), Some(reply)) = (self.instances.get_mut(key), reply) else {
            return;
        };
        let delay = reply.round_trip_ns.saturating_sub(reply.residence_ns) / 1_000;
        instance.delays[0].push(u32::try_from(delay).unwrap_or(u32::MAX));
        let code = u8::try_from(reply.health).ok();
        let health = match code.and_then(ProbeHealth::from_code) {
            Some(ProbeHealth::Healthy) => Health::Healthy,
            Some(ProbeHealth::Draining) => Health::Draining,
            Some(ProbeHealth::Overloaded) => Health::Overloaded,
            None => return,
        };
        if reply.state_known {
            instance.answered = Some((Instant::now(), health, reply.load_permille));
        }
    }

    /// How they are, with the second that is over.
    pub fn second(&mut self, handle: &Handle) -> States {
        let pods = handle.pods();
        let version = *pods.changed.borrow();
        if self.version != Some(version) {
            self.version = Some(version);
            self.follow(&pods.leases());
        }
        let now = Instant::now();
        let turns = self.instances.len().div_ceil(PROBES).max(1);
        let holds = HOLDS + Duration::from_secs(1) * u32::try_from(turns).unwrap_or(u32::MAX);
        let mut states = BTreeMap::new();
        let mut one: Option<(&Domain, &NameBuf)> = None;
        let (mut said, mut delay) = (Vec::new(), Histogram::default());
        for ((domain, name, _), instance) in &self.instances {
            if one != Some((domain, name)) {
                put(&mut states, one, &mut said, &mut delay);
                one = Some((domain, name));
            }
            said.push(instance.state(now, holds));
            for micros in instance.delays.iter().flatten() {
                delay.add(*micros);
            }
        }
        put(&mut states, one, &mut said, &mut delay);
        for instance in self.instances.values_mut() {
            let [new, old] = &mut instance.delays;
            *old = std::mem::take(new);
        }
        Arc::new(states)
    }

    /// Takes over who is there.
    fn follow(&mut self, leases: &LeaseTable) {
        let mut there = HashSet::new();
        let leases = leases
            .iter()
            .map(|lease| (lease, of_registrar(lease.told_health())));
        let served = leases.filter_map(|(lease, health)| Some((lease, health?)));
        let each =
            served.flat_map(|(lease, health)| lease.serves.iter().map(move |n| (lease, n, health)));
        for (lease, name, health) in each.take(MAX_INSTANCES) {
            let key = (lease.domain, name.clone(), lease.attachment);
            self.instances.entry(key.clone()).or_default().registered = health;
            there.insert(key);
        }
        self.instances.retain(|key, _| there.contains(key));
    }

    /// Sends the probes of this second.
    pub async fn probe(&mut self, handle: &Handle, own: NodeId) {
        if self.instances.is_empty() {
            return;
        }
        let slot = handle.pods().dataplane.lock().await;
        let Some(agent) = slot.as_ref().map(|dataplane| dataplane.agent.clone()) else {
            return;
        };
        drop(slot);
        let turn = self.turn();
        self.last = turn.last().cloned();
        let count = u32::try_from(turn.len()).unwrap_or(u32::MAX).max(1);
        for (index, key) in (0..).zip(turn) {
            let agent = agent.clone();
            self.under_way.spawn(async move {
                sleep(SPREAD / count * index).await;
                let reply = ask(agent, own, &key).await;
                (key, reply)
            });
        }
    }

    /// The instances that come behind the last that had its turn.
    fn turn(&self) -> Vec<Key> {
        let start = match &self.last {
            Some(last) => std::ops::Bound::Excluded(last.clone()),
            None => std::ops::Bound::Unbounded,
        };
        let behind = self.instances.range((start, std::ops::Bound::Unbounded));
        let most = PROBES.min(self.instances.len());
        let all = behind.chain(&self.instances).map(|(key, _)| key.clone());
        all.take(most).collect()
    }
}

fn put(
    states: &mut BTreeMap<(Domain, NameBuf), ServiceState>,
    one: Option<(&Domain, &NameBuf)>,
    said: &mut Vec<(Health, u32)>,
    delay: &mut Histogram,
) {
    if let Some((domain, name)) = one
        && states.len() < MAX_PREFIXES
    {
        let state = ServiceState::of(said, std::mem::take(delay));
        states.insert((*domain, name.clone()), state);
    }
    said.clear();
    *delay = Histogram::default();
}

/// `None`: nobody can be called there.
fn of_registrar(health: lease::Health) -> Option<Health> {
    match health {
        // Found after a restart: it has not said anything yet, and has its lease.
        lease::Health::Unknown | lease::Health::Serving => Some(Health::Healthy),
        lease::Health::Draining => Some(Health::Draining),
        lease::Health::Overloaded => Some(Health::Overloaded),
        lease::Health::Unreachable => None,
    }
}

async fn ask(
    mut agent: Agent,
    own: NodeId,
    (domain, name, attachment): &Key,
) -> Option<v1::EchoReply> {
    let request = v1::EchoRequest {
        domain: domain.0,
        name: name.as_bytes().to_vec(),
        count: 1,
        timeout_ms: u32::try_from(OVERDUE.as_millis()).unwrap_or(1_000),
        gateway: own.0,
        attachment: u32::from(attachment.0),
        class: CLASS,
        probe: true,
        ..Default::default()
    };
    agent.first_answer(request).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{Lease, LeaseId};

    fn lease(id: u32, names: &[&str]) -> Lease {
        let attachment = v1::Attachment {
            id,
            port: "pod1".into(),
            address: "10.1.1.2".into(),
            udp_port: id,
            domain: 1,
            identity: format!("pod1/{id}"),
            serves: names
                .iter()
                .map(|name| NameBuf::parse(name).unwrap().as_bytes().to_vec())
                .collect(),
            ..Default::default()
        };
        Lease::from_attachment(LeaseId(id.into()), &attachment, Instant::now()).unwrap()
    }

    fn handle() -> Handle {
        Handle::new(Arc::default()).0
    }

    fn answer(health: u32, load_permille: u32) -> Option<v1::EchoReply> {
        Some(v1::EchoReply {
            round_trip_ns: 150_000,
            residence_ns: 50_000,
            health,
            load_permille,
            state_known: true,
            ..Default::default()
        })
    }

    #[test]
    fn what_an_instance_says_counts_before_what_the_registrar_knows() {
        let handle = handle();
        let pods = handle.pods();
        pods.leases().put(lease(7, &["/shop/a"]));
        pods.leases().put(Lease {
            health: lease::Health::Draining,
            ..lease(8, &["/shop/a", "/shop/b"])
        });
        pods.leases().put(Lease {
            reachable: false,
            ..lease(9, &["/shop/c"])
        });
        pods.change();
        let mut services = Services::default();
        let of = |states: &States, name: &str| {
            let state = states.get(&(Domain(1), NameBuf::parse(name).unwrap()))?;
            let counts = (state.instances, state.healthy);
            Some((
                state.health,
                state.load_permille,
                counts,
                state.delay.count(),
            ))
        };
        let states = services.second(&handle);
        assert_eq!(
            of(&states, "/shop/a"),
            Some((Health::Healthy, 0, (2, 1), 0))
        );
        assert_eq!(
            of(&states, "/shop/b"),
            Some((Health::Draining, 0, (1, 0), 0))
        );
        assert_eq!(of(&states, "/shop/c"), None);
        assert_eq!(services.turn().len(), 3);
        for key in services.turn() {
            services.take(&key, answer(2, 1_100));
        }
        let states = services.second(&handle);
        assert_eq!(
            of(&states, "/shop/a"),
            Some((Health::Overloaded, 1_100, (2, 0), 2))
        );
        let micros = states.values().next().unwrap().delay.quantile(500).unwrap();
        assert!((95..105).contains(&micros), "{micros}");
        // Delay is told for two seconds; an answer of who knows nothing of itself is one of delay only.
        let key = services.turn().remove(0);
        services.take(&key, None);
        assert_eq!(of(&services.second(&handle), "/shop/b").unwrap().3, 1);
        assert_eq!(of(&services.second(&handle), "/shop/b").unwrap().3, 0);
        let removed = pods.leases().remove(LeaseId(8));
        assert!(removed.is_some());
        pods.change();
        let states = services.second(&handle);
        assert_eq!((states.len(), of(&states, "/shop/b")), (1, None));
    }

    #[test]
    fn each_has_its_turn() {
        let names: Vec<String> = (0..PROBES + 2).map(|n| format!("/shop/{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut services = Services::default();
        let mut table = LeaseTable::default();
        table.put(lease(7, &names));
        services.follow(&table);
        let first = services.turn();
        services.last = first.last().cloned();
        let second = services.turn();
        assert_eq!((first.len(), second.len()), (PROBES, PROBES));
        assert!(!first.contains(&second[0]) && !first.contains(&second[1]));
        assert_eq!(second[2], first[0]);
    }
}
