//! What pods tell of how long their calls took: how much and how often a lease may.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_proto::{ANSWERED_BUCKETS as BUCKETS, ANSWERED_NAMES as NAMES, v1};
use tonic::Status;

use crate::lease::LeaseId;

/// Between two times that a lease tells; less than pods keep to, by what a packet may be late.
const EVERY: Duration = Duration::from_millis(800);
/// Leases that are remembered before those of before are looked for.
const TIDY: usize = 1_024;

/// When leases told last.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<HashMap<LeaseId, Instant>>);

impl Answers {
    /// Whether this lease may tell this now.
    ///
    /// # Errors
    /// It is too much, or too soon.
    pub fn admit(
        &self,
        lease: LeaseId,
        calls: &[v1::AnsweredCalls],
        now: Instant,
    ) -> Result<(), Status> {
        let buckets = calls.iter().map(|one| one.latency.len()).max();
        if calls.len() > NAMES || buckets.is_some_and(|most| most > BUCKETS) {
            return Err(Status::invalid_argument(format!(
                "calls: at most {NAMES} names of {BUCKETS} buckets are taken at a time"
            )));
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |last: &Instant| now.saturating_duration_since(*last) < EVERY;
        if told.get(&lease).is_some_and(is_recent) {
            return Err(Status::resource_exhausted(
                "calls: they are told once a second",
            ));
        }
        // Leases are bounded, and so are those that told within the time.
        if told.len() >= TIDY {
            told.retain(|_, last| is_recent(last));
        }
        told.insert(lease, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second_each_and_not_too_much() {
        let (answers, begin) = (Answers::default(), Instant::now());
        let admit = |lease, calls: &[_], ms| {
            let at = begin + Duration::from_millis(ms);
            let admitted = answers.admit(LeaseId(lease), calls, at);
            admitted.map_err(|status| status.code())
        };
        let call = v1::AnsweredCalls::default();
        assert_eq!(admit(1, &[], 0), Ok(()));
        assert_eq!(admit(2, std::slice::from_ref(&call), 1), Ok(()));
        assert_eq!(admit(1, &[], 799), Err(tonic::Code::ResourceExhausted));
        assert_eq!(admit(1, &[], 800), Ok(()));
        // What is too much does not count as told.
        let many = vec![call; NAMES + 1];
        assert_eq!(admit(3, &many, 800), Err(tonic::Code::InvalidArgument));
        let wide = v1::AnsweredCalls {
            latency: vec![v1::LatencyBucket::default(); BUCKETS + 1],
            ..Default::default()
        };
        assert_eq!(admit(3, &[wide], 800), Err(tonic::Code::InvalidArgument));
        assert_eq!(admit(3, &many[1..], 800), Ok(()));
        // Those that told long ago are not remembered.
        (10..10 + TIDY as u64).for_each(|lease| assert_eq!(admit(lease, &[], 1_000), Ok(())));
        assert_eq!(admit(5, &[], 9_000), Ok(()));
        assert_eq!(answers.0.lock().unwrap().len(), 1);
    }
}
