//! What one stream is still to be told of the services that live with this gateway.

use std::collections::BTreeMap;

use dmsc_proto::v1;
use dmsc_scsc::ServiceState;
use dmsc_wire::{Domain, NameBuf};

use crate::scsc::service::{MAX_DELAY, MAX_PREFIXES};

/// Bytes of services in one second's telemetry; what has no room comes with the next.
const MAX_BYTES: usize = 192 << 10;
/// What does not change is told again after so many seconds: a center takes what it does not hear of for unknown.
const AGAIN: u64 = 2;
/// What changed, and what is under load, is told each second for so long: a center counts how often it heard that all is well again.
const AFTER: u64 = 12;

type Service = (Domain, NameBuf);

#[derive(Debug)]
struct Told {
    state: ServiceState,
    /// The second in which it was told last.
    at: u64,
    /// And the one in which it had changed, if it did since the first word of it.
    changed: Option<u64>,
}

/// Of one stream, from its beginning.
#[derive(Debug, Default)]
pub(super) struct Telling(BTreeMap<Service, Told>);

impl Telling {
    /// What is to be told with this second: what ended, what changed, and the rest in turn.
    pub fn next(
        &mut self,
        second: u64,
        states: &BTreeMap<Service, ServiceState>,
    ) -> Vec<v1::ServiceState> {
        let gone: Vec<Service> = self
            .0
            .keys()
            .filter(|service| !states.contains_key(*service))
            .cloned()
            .collect();
        // What was told longest ago comes first; what never was, and what changed, before it.
        let mut due: Vec<(u64, &Service, &ServiceState)> = states
            .iter()
            .filter_map(|(service, state)| {
                Some((self.due(second, service, state)?, service, state))
            })
            .collect();
        due.sort_by_key(|(at, ..)| *at);
        let none = ServiceState::default();
        let gone = gone.iter().map(|service| (service, &none));
        let mut room = MAX_BYTES;
        let mut told = Vec::new();
        for (service, state) in
            gone.chain(due.into_iter().map(|(_, service, state)| (service, state)))
        {
            let message = message(service, state);
            let cost = message.name.len() + message.delay.len() + 40;
            if cost > room || told.len() == MAX_PREFIXES {
                break;
            }
            room -= cost;
            told.push(message);
            self.note(second, service, state);
        }
        told
    }

    /// `None`: not now. Else the second in which it was told last.
    fn due(&self, second: u64, service: &Service, state: &ServiceState) -> Option<u64> {
        let Some(told) = self.0.get(service) else {
            return Some(0);
        };
        if !told.state.is_as(state) {
            return Some(0);
        }
        let quiet = state.healthy > 0
            && state.load_permille == 0
            && told.changed.is_none_or(|at| second > at + AFTER);
        (!quiet || second >= told.at + AGAIN).then_some(told.at)
    }

    fn note(&mut self, second: u64, service: &Service, state: &ServiceState) {
        if state.instances == 0 {
            self.0.remove(service);
            return;
        }
        let before = self.0.get(service);
        let changed = match before.filter(|told| told.state.is_as(state)) {
            Some(told) => told.changed,
            None => before.is_some().then_some(second),
        };
        let told = Told {
            state: ServiceState {
                delay: Default::default(),
                ..state.clone()
            },
            at: second,
            changed,
        };
        self.0.insert(service.clone(), told);
    }
}

fn message((domain, name): &Service, state: &ServiceState) -> v1::ServiceState {
    v1::ServiceState {
        domain: domain.0,
        name: name.as_bytes().to_vec(),
        health: state.health as u32,
        load_permille: state.load_permille,
        instances: state.instances,
        healthy: state.healthy,
        delay: state.delay_bytes(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use dmsc_scsc::{Health, Histogram};

    use super::*;

    fn service(text: &str) -> Service {
        (Domain(1), NameBuf::parse(text).unwrap())
    }

    fn state(health: Health, load: u32) -> ServiceState {
        ServiceState::of(&[(health, load)], Histogram::default())
    }

    #[test]
    fn what_is_quiet_is_told_now_and_then_and_what_changes_at_once() {
        let mut telling = Telling::default();
        let mut states = BTreeMap::from([
            (service("/a"), state(Health::Healthy, 0)),
            (service("/b"), state(Health::Healthy, 300)),
        ]);
        let mut next = |second, states: &BTreeMap<Service, ServiceState>| -> Vec<(u8, u32, u32)> {
            let told = telling.next(second, states);
            told.iter()
                .map(|one| (one.name[1], one.health, one.instances))
                .collect()
        };
        let (a, b) = ((b'a', 0, 1), (b'b', 0, 1));
        assert_eq!(next(1, &states), [a, b]);
        assert_eq!(next(2, &states), [b], "a load is told each second");
        assert_eq!(next(3, &states), [a, b]);
        states.insert(service("/a"), state(Health::Overloaded, 0));
        assert_eq!(next(4, &states), [(b'a', 2, 1), b]);
        states.insert(service("/a"), state(Health::Healthy, 0));
        for second in 5..=5 + AFTER {
            assert_eq!(next(second, &states).len(), 2, "{second}");
        }
        assert_eq!(next(6 + AFTER, &states), [b]);
        states.remove(&service("/b"));
        assert_eq!(next(7 + AFTER, &states), [(b'b', 0, 0), a]);
        states.clear();
        assert_eq!(next(8 + AFTER, &states), [(b'a', 0, 0)]);
        assert_eq!(next(9 + AFTER, &states), []);
    }

    #[test]
    fn what_has_no_room_comes_with_the_next() {
        let name = |n: u32| service(&format!("/{n}/{}", "x".repeat(200)));
        let states: BTreeMap<Service, ServiceState> = (0..3_000)
            .map(|n| (name(n), state(Health::Healthy, 0)))
            .collect();
        let mut telling = Telling::default();
        let mut heard = std::collections::BTreeSet::new();
        for second in 1..=6 {
            let told = telling.next(second, &states);
            let bytes: usize = told
                .iter()
                .map(|one| one.name.len() + one.delay.len())
                .sum();
            assert!(bytes <= MAX_BYTES, "{bytes}");
            heard.extend(told.into_iter().map(|one| one.name));
        }
        assert_eq!(heard.len(), states.len());
    }
}
