//! What links are like, and when that is told again: in the manner of RFC 8570 (sections 5 to 7) after a change by much, and now and then after any, so
//! that noise floods nothing.

use std::time::Duration;

use super::body::{Link, MAX_METRIC, WHOLE_PPM};

/// Between two objects of a node because of figures.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// After so long any change is told.
pub const PERIOD: Duration = Duration::from_secs(120);
/// A delay is another if it differs by a tenth of what was told, by so much, and by more than it varies anyway.
const DELAY_US: u32 = 100;
/// A loss: by a half, and by so much. One hello of a minute is 833 at 50 ms.
const LOSS_PPM: u32 = 5_000;

/// What a link is like, smoothed, as this end of it measures; `None`: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// One way: half of the round trip, µs.
    pub delay_us: Option<u32>,
    /// One way, µs.
    pub variation_us: Option<u32>,
    /// Of what the peer sends, in millionths.
    pub loss_ppm: Option<u32>,
    /// Towards the peer, kbit/s: the configured one, else the port's. 0: not known, and so is what is left of it.
    pub capacity_kbps: u64,
    /// Towards the peer, kbit/s.
    pub used_kbps: u64,
}

impl Figures {
    /// Writes them into what is told of a link.
    pub fn put(&self, link: &mut Link) {
        let time = |time: Option<u32>| time.map(|us| us.min(MAX_METRIC));
        link.measured_delay_us = time(self.delay_us);
        link.delay_variation_us = time(self.variation_us);
        link.loss_ppm = self.loss_ppm.map(|loss| loss.min(WHOLE_PPM));
        if link.capacity_kbps == 0 {
            link.capacity_kbps = self.capacity_kbps;
        }
        // Who does not measure says 0, also where a capacity is configured.
        link.available_kbps =
            (self.capacity_kbps > 0).then(|| link.capacity_kbps.saturating_sub(self.used_kbps));
    }

    /// Whether whoever knows `told` is to know this at once. A variation by itself is not worth it: RFC 8570 has no anomalous bit for it either.
    #[must_use]
    pub fn differ_much(&self, told: &Figures) -> bool {
        let capacity = self.capacity_kbps;
        let noise = self.variation_us.unwrap_or(0);
        self.capacity_kbps != told.capacity_kbps
            || is_other(self.delay_us, told.delay_us, 10, DELAY_US.max(noise))
            || is_other(self.loss_ppm, told.loss_ppm, 2, LOSS_PPM)
            || is_fuller(
                capacity,
                capacity.saturating_sub(self.used_kbps),
                capacity.saturating_sub(told.used_kbps),
            )
    }
}

/// By `1/part` of what was told or more, and by `least` or more.
fn is_other(new: Option<u32>, told: Option<u32>, part: u32, least: u32) -> bool {
    match (new, told) {
        (None, None) => false,
        (Some(new), Some(told)) => new.abs_diff(told) >= least.max(told / part),
        _ => true,
    }
}

/// By ten points of utilisation; where little is left, by half or double of it, and two points.
fn is_fuller(capacity: u64, left: u64, told: u64) -> bool {
    let difference = left.abs_diff(told);
    let (less, more) = (left.min(told), left.max(told));
    capacity > 0
        && (difference >= capacity.div_ceil(10)
            || (difference >= capacity.div_ceil(50) && less.saturating_mul(2) <= more))
}

/// Figures of one link: the latest, and what the others know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Advertised {
    latest: Figures,
    told: Figures,
    told_at: Option<Duration>,
}

impl Advertised {
    /// Measured anew.
    pub fn measured(&mut self, latest: Figures) {
        self.latest = latest;
    }

    /// Whether the others should hear of the latest.
    pub fn is_due(&self, now: Duration) -> bool {
        let long_ago = self
            .told_at
            .is_none_or(|at| now >= at.saturating_add(PERIOD));
        self.latest.differ_much(&self.told) || (long_ago && self.latest != self.told)
    }

    /// The latest are what is told from now on.
    pub fn tell(&mut self, now: Duration) {
        self.told = self.latest;
        self.told_at = Some(now);
    }

    /// As the others know them.
    pub fn told(&self) -> &Figures {
        &self.told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MBIT: u64 = 1_000;

    fn figures(delay_us: u32, used_mbit: u64) -> Figures {
        Figures {
            delay_us: Some(delay_us),
            variation_us: Some(50),
            loss_ppm: Some(0),
            capacity_kbps: 1_000 * MBIT,
            used_kbps: used_mbit * MBIT,
        }
    }

    #[test]
    fn much_is_much_of_what_was_told() {
        let told = figures(5_000, 300);
        let cases = [
            (figures(5_499, 300), false),
            (figures(5_500, 300), true),
            (figures(4_500, 300), true),
            (figures(5_000, 399), false),
            (figures(5_000, 400), true),
            (figures(5_000, 200), true),
            (
                Figures {
                    loss_ppm: Some(4_999),
                    ..told
                },
                false,
            ),
            (
                Figures {
                    loss_ppm: Some(5_000),
                    ..told
                },
                true,
            ),
            // It varies so much that this is nothing.
            (
                Figures {
                    variation_us: Some(501),
                    ..figures(5_500, 300)
                },
                false,
            ),
            (
                Figures {
                    delay_us: None,
                    ..told
                },
                true,
            ),
            (
                Figures {
                    capacity_kbps: 0,
                    ..told
                },
                true,
            ),
        ];
        for (new, much) in cases {
            assert_eq!(new.differ_much(&told), much, "{new:?}");
        }
        // A short link trembles by more than a tenth; a full one is told of in finer steps.
        assert!(!figures(119, 300).differ_much(&figures(20, 300)));
        assert!(figures(20, 980).differ_much(&figures(20, 950)));
        assert!(!figures(20, 999).differ_much(&figures(20, 990)));
    }

    #[test]
    fn a_link_says_what_fits_its_fields() {
        let mut link = Link::default();
        let large = Figures {
            delay_us: Some(u32::MAX),
            loss_ppm: Some(u32::MAX),
            used_kbps: 5,
            ..Figures::default()
        };
        large.put(&mut link);
        assert_eq!(link.measured_delay_us, Some(MAX_METRIC));
        assert_eq!(
            (link.loss_ppm, link.available_kbps),
            (Some(WHOLE_PPM), None)
        );
        figures(9, 2_000).put(&mut link);
        assert_eq!(link.capacity_kbps, 1_000 * MBIT);
        assert_eq!(link.available_kbps, Some(0));
        let mut configured = Link {
            capacity_kbps: 50,
            ..Link::default()
        };
        figures(9, 0).put(&mut configured);
        assert_eq!(
            (configured.capacity_kbps, configured.available_kbps),
            (50, Some(50))
        );
    }

    proptest! {
        /// Whatever noise stays within the thresholds around one level: told once, and then in periods only.
        #[test]
        fn noise_is_not_told(
            delay in 1_000u32..1_000_000,
            used in 100u64..800,
            noise in prop::collection::vec((-100i64..=100, -100i64..=100), 1..300),
        ) {
            let mut link = Advertised::default();
            let mut times = 0;
            for (second, (shake, shift)) in noise.iter().enumerate() {
                // A twentieth of the delay, and five points of utilisation, to either side: never a tenth and ten apart.
                let delay = i64::from(delay) + i64::from(delay) * shake / 2_200;
                let used = used as i64 * 1_000 + shift * 499;
                link.measured(Figures {
                    delay_us: u32::try_from(delay).ok(),
                    used_kbps: used as u64,
                    ..figures(1, 1)
                });
                let now = Duration::from_secs(second as u64);
                if link.is_due(now) {
                    link.tell(now);
                    times += 1;
                }
            }
            prop_assert!(times <= 1 + noise.len() as u64 / PERIOD.as_secs());
        }

        /// What the others know is never far from what was measured.
        #[test]
        fn what_is_told_is_near(steps in prop::collection::vec((0u32..50_000, 0u64..1_000), 1..100)) {
            let mut link = Advertised::default();
            for (second, (delay, used)) in steps.into_iter().enumerate() {
                let now = Duration::from_secs(second as u64);
                link.measured(figures(delay, used));
                if link.is_due(now) {
                    link.tell(now);
                }
                prop_assert!(!figures(delay, used).differ_much(link.told()));
            }
        }
    }
}
