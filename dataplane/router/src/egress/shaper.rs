//! A port's rate: what may leave by it in a time.

use crate::bucket::Bucket;

/// What is saved up at most: as much as goes in so long. It hides that a sleeping worker wakes late, and is short beside any queue.
const BURST_MS: u64 = 1;
/// Least burst: one large frame of ordinary Ethernet and a small one.
const LEAST_BURST: u64 = 2_000;

/// Lets frames go at a rate, counted in the bytes that the driver gets (Ethernet header, no preamble, gap or checksum).
#[derive(Debug)]
pub struct Shaper {
    bucket: Bucket,
    bytes_per_s: u64,
}

impl Shaper {
    /// Of `bytes_per_s` at `hz` cycles per second, from cycle `now` on.
    pub fn new(bytes_per_s: u64, hz: u64, now: u64) -> Shaper {
        let burst = (bytes_per_s * BURST_MS / 1000).max(LEAST_BURST);
        Shaper {
            bucket: Bucket::new(bytes_per_s, burst, hz, now),
            bytes_per_s,
        }
    }

    /// Its rate.
    pub fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s
    }

    /// Adds what the time until cycle `now` brings; whether a frame may go.
    #[inline]
    pub fn refill(&mut self, now: u64) -> bool {
        self.bucket.refill(now) > 0
    }

    /// A frame of `bytes` goes, if need be into debt; whether another one may.
    #[inline]
    pub fn spend(&mut self, bytes: u64) -> bool {
        self.bucket.spend(bytes);
        self.bucket.tokens() > 0
    }

    /// The cycle from which on a frame may go; in the past where one may now.
    #[inline]
    pub fn ready_at(&self) -> u64 {
        self.bucket.ready_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_the_time_to_wait_is_known() {
        const HZ: u64 = 1_000_000_000;
        let mut shaper = Shaper::new(6_250_000, HZ, 0);
        let (mut now, mut sent, mut waits) = (0, 0u64, 0);
        while now < HZ {
            if shaper.refill(now) {
                while shaper.spend(1100) {
                    sent += 1100;
                }
                sent += 1100;
            }
            let ready = shaper.ready_at();
            assert!(ready > now, "it is in debt");
            // A frame of 1,100 bytes takes 176 us.
            assert!(ready - now <= 177_000, "{}", ready - now);
            assert!(!Shaper::refill(&mut shaper, ready - 200), "not before");
            now = ready;
            waits += 1;
        }
        assert!(waits > 4000);
        let expected = 6_250_000 + 6_250; // and the burst of the start
        assert!(sent.abs_diff(expected) < expected / 100, "{sent}");
    }
}
