//! What a gateway tells of a service that lives with it: found by the self-detection of its instances, which are probed one by one.

use crate::histogram::Histogram;
use crate::report::Health;

/// A service at one gateway: all its instances there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// Of the best instance: as long as one takes calls, the member does.
    pub health: Health,
    /// How much of what they can do the healthy instances do, in thousandths, on average; of all, if none is healthy.
    pub load_permille: u32,
    /// How many there are; 0: the service is gone from there.
    pub instances: u32,
    /// How many of them are healthy.
    pub healthy: u32,
    /// Between the gateway and its instances, both ways, without their own time.
    pub delay: Histogram,
}

impl ServiceState {
    /// Of the health and load of each instance.
    #[must_use]
    pub fn of(instances: &[(Health, u32)], delay: Histogram) -> Self {
        let healthy = |one: &&(Health, u32)| one.0 == Health::Healthy;
        let many = instances.iter().filter(healthy).count();
        let all = instances.iter().filter(|one| many == 0 || healthy(one));
        let (sum, count) = all.fold((0, 0), |(sum, count), one| {
            (sum + u64::from(one.1), count + 1)
        });
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            health: instances.iter().map(|one| one.0).min().unwrap_or_default(),
            load_permille: u64::checked_div(sum, count)
                .and_then(|mean| u32::try_from(mean).ok())
                .unwrap_or(0),
            instances: number(instances.len()),
            healthy: number(many),
            delay,
        }
    }

    /// Whether another one says the same of the service, whatever its delay.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.health, one.load_permille, one.instances, one.healthy);
        of(self) == of(other)
    }

    /// The delay as it is told, coarsened until it takes at most `most` bytes; at the least, a few.
    #[must_use]
    pub fn delay_bytes(&self, most: usize) -> Vec<u8> {
        let mut delay = self.delay.clone();
        let mut out = Vec::new();
        loop {
            out.clear();
            delay.encode(&mut out);
            if out.len() <= most || !delay.coarsen() {
                return out;
            }
        }
    }

    /// The delay as it was told; none of no bytes. `None` if these are none that [`ServiceState::delay_bytes`] makes.
    #[must_use]
    pub fn delay_from(mut bytes: &[u8]) -> Option<Histogram> {
        if bytes.is_empty() {
            return Some(Histogram::default());
        }
        let delay = Histogram::decode(&mut bytes)?;
        bytes.is_empty().then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_instance_speaks_for_all() {
        use Health::{Draining, Healthy, Overloaded};
        let of = |instances: &[(Health, u32)]| {
            let state = ServiceState::of(instances, Histogram::default());
            let counts = (state.instances, state.healthy);
            (state.health, state.load_permille, counts)
        };
        assert_eq!(of(&[]), (Healthy, 0, (0, 0)));
        let mixed = [(Healthy, 300), (Overloaded, 1_000), (Healthy, 500)];
        assert_eq!(of(&mixed), (Healthy, 400, (3, 2)));
        let bad = [(Overloaded, 1_000), (Draining, 200)];
        assert_eq!(of(&bad), (Draining, 600, (2, 0)));
    }

    #[test]
    fn delay_is_told_in_few_bytes() {
        let mut state = ServiceState::default();
        for bit in 0..24 {
            (0..9).for_each(|more| state.delay.add((1 << bit) + (more << bit) / 8));
        }
        let bytes = state.delay_bytes(40);
        assert!(bytes.len() <= 40, "{}", bytes.len());
        let back = ServiceState::delay_from(&bytes).unwrap();
        assert_eq!(back.count(), state.delay.count());
        assert_eq!(ServiceState::delay_from(&[]), Some(Histogram::default()));
        let mut more = bytes;
        more.push(0);
        assert_eq!(ServiceState::delay_from(&more), None);
    }
}
