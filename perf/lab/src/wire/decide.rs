//! Draws what happens to each frame, from a seed: the same seed and settings give the same decisions on every machine.

use super::settings::Settings;

/// SplitMix64 (Steele, Lea, Flood 2014). Written out, so that no version of a library can change what a seed means.
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from 0 to `limit`, excluded.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }
}

/// What happens to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// It is lost.
    pub lose: bool,
    /// It arrives twice.
    pub duplicate: bool,
    /// It is overtaken.
    pub reorder: bool,
    /// Its own part of the jitter, ns.
    pub jitter_ns: u64,
}

/// The decisions of one direction.
#[derive(Debug, Clone)]
pub struct Decider(SplitMix);

impl Decider {
    /// Decisions for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// The fate of the next frame. Always draws four numbers, so that a setting changed for one impairment does not shift the draws of others.
    pub fn next(&mut self, settings: &Settings) -> Decision {
        let [lose, duplicate, reorder, jitter] = std::array::from_fn(|_| self.0.unit());
        Decision {
            lose: lose < settings.loss,
            duplicate: duplicate < settings.duplicate,
            reorder: reorder < settings.reorder,
            jitter_ns: (jitter * settings.jitter_ns as f64) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            loss: 0.1,
            duplicate: 0.05,
            reorder: 0.2,
            jitter_ns: 1_000,
            ..Settings::default()
        }
    }

    #[test]
    fn the_same_seed_decides_the_same() {
        let draw = |seed| {
            let mut decider = Decider::new(seed);
            (0..1_000)
                .map(|_| decider.next(&settings()))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The reference value of SplitMix64 for seed 0: a change of the generator would change the meaning of every seed.
        assert_eq!(SplitMix::new(0).bits(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn shares_are_those_asked_for() {
        let mut decider = Decider::new(42);
        let count = 100_000;
        let (mut lost, mut twice, mut late, mut jitter) = (0, 0, 0, 0);
        for _ in 0..count {
            let decision = decider.next(&settings());
            lost += usize::from(decision.lose);
            twice += usize::from(decision.duplicate);
            late += usize::from(decision.reorder);
            jitter += decision.jitter_ns;
        }
        // Four standard deviations.
        assert!(
            (lost as f64 - 10_000.0).abs() < 4.0 * 95.0,
            "lost {lost} of {count}"
        );
        assert!(
            (twice as f64 - 5_000.0).abs() < 4.0 * 69.0,
            "duplicated {twice} of {count}"
        );
        assert!(
            (late as f64 - 20_000.0).abs() < 4.0 * 127.0,
            "reordered {late} of {count}"
        );
        assert!((jitter as f64 / count as f64 - 500.0).abs() < 4.0);
    }

    #[test]
    fn one_setting_does_not_shift_the_draws_of_another() {
        let (mut with, mut without) = (Decider::new(3), Decider::new(3));
        let none = Settings {
            duplicate: 0.0,
            ..settings()
        };
        for _ in 0..1_000 {
            assert_eq!(with.next(&settings()).lose, without.next(&none).lose);
        }
    }
}
