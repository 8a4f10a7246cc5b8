//! Self-detection: how a service of the pod is, as its answers to probes say it.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_wire::{Name, ProbeHealth, ProbeState};

use crate::health::Health;
use crate::pod::Inner;

/// What finds out how the service with a name is; called for every probe, so it only looks.
pub(crate) type Detect = Box<dyn Fn(Name<'_>) -> ProbeState + Send + Sync>;

/// How the service `name` is: as found, and never better than what the pod says of itself.
pub(crate) fn state(inner: &Inner, name: Name<'_>) -> ProbeState {
    let found = match inner.detect.get() {
        Some(detect) => detect(name),
        None => of_calls(inner.in_hand.load(Relaxed), inner.in_hand_limit),
    };
    let told = match inner.session.health() {
        Health::Serving => ProbeHealth::Healthy,
        Health::Draining => ProbeHealth::Draining,
        Health::Overloaded => ProbeHealth::Overloaded,
    };
    ProbeState {
        health: found.health.max(told),
        ..found
    }
}

/// Load of `under_way` calls where there is room for `limit`; overloaded when there is none for another.
#[must_use]
pub fn of_calls(under_way: usize, limit: usize) -> ProbeState {
    let permille = (under_way as u128 * 1_000) / limit.max(1) as u128;
    ProbeState {
        health: match under_way >= limit {
            true => ProbeHealth::Overloaded,
            false => ProbeHealth::Healthy,
        },
        load_permille: u16::try_from(permille).unwrap_or(u16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_calls_of_what_there_is_room_for() {
        let of = |under_way, limit| {
            let state = of_calls(under_way, limit);
            (state.health, state.load_permille)
        };
        assert_eq!(of(0, 4), (ProbeHealth::Healthy, 0));
        assert_eq!(of(3, 4), (ProbeHealth::Healthy, 750));
        assert_eq!(of(4, 4), (ProbeHealth::Overloaded, 1_000));
        assert_eq!(of(usize::MAX, 1), (ProbeHealth::Overloaded, u16::MAX));
        assert_eq!(of(0, 0).0, ProbeHealth::Overloaded);
    }
}
