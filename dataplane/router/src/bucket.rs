//! Token buckets in TSC cycles.

/// A rate with a burst.
#[derive(Debug, Clone)]
pub struct Bucket {
    tokens: i64,
    burst: i64,
    /// Tokens per second.
    rate: u64,
    hz: u64,
    last: u64,
}

impl Bucket {
    /// `rate` tokens per second, at most `burst` saved up; full at the start.
    pub fn new(rate: u64, burst: u64, hz: u64, now: u64) -> Bucket {
        Bucket {
            tokens: burst as i64,
            burst: burst as i64,
            rate,
            hz: hz.max(1),
            last: now,
        }
    }

    /// Adds what the time since the last call brings; what is there now, negative when overdrawn.
    #[inline]
    pub fn refill(&mut self, now: u64) -> i64 {
        let elapsed = now.saturating_sub(self.last);
        // A second at most counts, so that the product stays in range; the burst is never larger.
        let gained =
            (u128::from(elapsed.min(self.hz)) * u128::from(self.rate) / u128::from(self.hz)) as i64;
        if gained > 0 {
            self.tokens = (self.tokens + gained).min(self.burst);
            // Only the cycles that made whole tokens are used up, so that slow rates do not round to nothing.
            let used = if elapsed >= self.hz {
                elapsed
            } else {
                (gained as u128 * u128::from(self.hz) / u128::from(self.rate.max(1))) as u64
            };
            self.last += used;
        }
        self.tokens
    }

    /// What was there after the last refill and what was taken since.
    #[inline]
    pub fn tokens(&self) -> i64 {
        self.tokens
    }

    /// The cycle at which a refill brings the first token; in the past where there is one already.
    #[inline]
    pub fn ready_at(&self) -> u64 {
        let missing = u128::from(1i64.saturating_sub(self.tokens).max(0).unsigned_abs());
        let rate = u128::from(self.rate.max(1));
        let cycles = (missing * u128::from(self.hz)).div_ceil(rate);
        self.last.saturating_add(cycles as u64)
    }

    /// Takes `n`, into debt if need be: the next refills pay it.
    #[inline]
    pub fn spend(&mut self, n: u64) {
        self.tokens -= n as i64;
    }

    /// Takes one if there is one.
    #[inline]
    pub fn allow(&mut self, now: u64) -> bool {
        let allowed = self.refill(now) > 0;
        if allowed {
            self.tokens -= 1;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_whatever_the_step() {
        for step in [1_000u64, 37_001, 1_000_000, 50_000_000] {
            let mut bucket = Bucket::new(10_000, 100, 1_000_000_000, 0);
            let (mut allowed, mut now) = (0u64, 0);
            while now < 1_000_000_000 {
                now += step;
                while bucket.allow(now) {
                    allowed += 1;
                }
            }
            // A step that brings more than the burst holds loses the rest.
            let per_step = step * 10_000 / 1_000_000_000;
            let expected = if per_step >= 100 {
                1_000_000_000 / step * 100
            } else {
                10_000 + 100
            };
            assert!(
                allowed.abs_diff(expected) <= expected / 50,
                "step {step}: {allowed}, expected {expected}"
            );
        }
    }

    #[test]
    fn debt_is_paid_first() {
        let mut bucket = Bucket::new(1000, 10, 1_000_000, 0);
        bucket.spend(110);
        assert_eq!(bucket.refill(50_000), -50);
        assert!(!bucket.allow(50_000));
        assert!(bucket.refill(200_000) > 0);
    }
}
