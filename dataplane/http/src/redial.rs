//! How often a name may be dialled anew because who answered refused.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_pod::Pin;
use dmsc_wire::AttachmentId;

use crate::preface::Code;

/// As often in a row as one call is tried again.
const TIMES: u32 = 2;
/// Handshakes cost more than refusals: so often in this time.
const WINDOW: Duration = Duration::from_secs(1);

/// A limit of dialling anew.
#[derive(Debug, Default)]
pub(crate) struct Redial(Mutex<Option<(Instant, u32)>>);

impl Redial {
    /// Whether another instance may be found at `place`, and may be looked for now. Where pods at other gateways are is not told, only that there are some: who is
    /// dialled with another flow label may be another of them.
    pub fn may(&self, place: Option<Pin>, code: Code) -> bool {
        let others = place.is_none_or(|place| place.attachment == AttachmentId::ANY);
        others && code != Code::Overloaded && self.take(Instant::now())
    }

    fn take(&self, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, taken) = window
            .filter(|(since, _)| now.saturating_duration_since(*since) < WINDOW)
            .unwrap_or((now, 0));
        if taken == TIMES {
            return false;
        }
        *window = Some((since, taken + 1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_a_second_where_there_may_be_others() {
        let redial = Redial::default();
        let (one, any) = ("4:7".parse().unwrap(), "4".parse().unwrap());
        assert!(!redial.may(Some(one), Code::NobodyListens));
        assert!(!redial.may(Some(any), Code::Overloaded));
        assert!(redial.may(Some(any), Code::NobodyListens));
        assert!(redial.may(None, Code::Draining));
        assert!(!redial.may(None, Code::Draining));
        assert!(redial.take(Instant::now() + WINDOW));
    }
}
