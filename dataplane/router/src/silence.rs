//! Of a pod that answers no probes its gateway must know whether it cannot, or is dead.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Questions that have to stay unanswered: one or two may get lost.
const QUESTIONS: u32 = 3;

/// How an attachment has answered the probes of its own gateway since it was attached. All workers write it, only where such a probe passes; a count
/// that is lost between two comes again.
///
/// Silence is proven when the gateway's control plane asks again after more than the attachment's lease: the control plane lives, or it would not ask,
/// and has not detached the pod, so the pod has refreshed its lease since the first question. It lives, and knows no probes. Of one that
/// ever answered, silence says that something is wrong.
#[derive(Debug, Default)]
pub struct Silence {
    /// TSC of the first question; 0 = there was none.
    since: AtomicU64,
    questions: AtomicU32,
    proven: AtomicBool,
    broken: AtomicBool,
}

impl Silence {
    /// Its gateway asks at TSC `now`; `lease` in cycles, 0 = it does not end, so nothing says that the pod is there.
    pub fn question(&self, now: u64, lease: u64) {
        let before = self.questions.load(Relaxed);
        self.questions.store(before.saturating_add(1), Relaxed);
        if before == 0 {
            return self.since.store(now, Relaxed);
        }
        let lasts = now.saturating_sub(self.since.load(Relaxed));
        if before >= QUESTIONS && lease > 0 && lasts > lease {
            self.proven.store(true, Relaxed);
        }
    }

    /// It has answered one, whoever asked.
    pub fn break_it(&self) {
        self.broken.store(true, Relaxed);
    }

    /// Whether it has ever answered one.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Whether it is there and answers none.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Relaxed) && !self.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions at these times; whether silence is proven then.
    fn after(times: &[u64], lease: u64) -> (Silence, bool) {
        let silence = Silence::default();
        for now in times {
            silence.question(*now, lease);
        }
        let proven = silence.is_proven();
        (silence, proven)
    }

    #[test]
    fn silence_is_proven_by_questions_and_a_lease_and_broken_by_one_answer() {
        for (times, proven) in [
            (&[][..], false),
            (&[1, 10, 500], false),
            (&[1, 10, 20, 101], false),
            (&[1, 10, 20, 102], true),
            (&[1, 10, 20, 30, 102], true),
        ] {
            assert_eq!(after(times, 100).1, proven, "{times:?}");
            assert!(
                !after(times, 0).1,
                "without a lease nobody is known to be there"
            );
        }
        let (silence, _) = after(&[1, 10, 20, 102], 100);
        silence.break_it();
        silence.question(500, 100);
        assert!(!silence.is_proven() && silence.is_broken());
    }
}
