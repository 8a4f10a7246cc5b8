//! How soon a center believes what is measured, and how much it moves at once: fields of `[timing]`, and of each `[[threshold]]` for its groups.

use std::time::Duration;

use dmsc_scsc::{Timing, TimingError};
use toml::Spanned;

/// Fields as they stand in the file; what is left out is as in `[timing]`, and there as it is by default.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub raise_k: Option<Spanned<u8>>,
    pub raise_n: Option<Spanned<u8>>,
    pub doubt_k: Option<Spanned<u8>>,
    pub clear_n: Option<Spanned<u8>>,
    pub hold_ms: Option<Spanned<u64>>,
    pub damping: Option<Spanned<u32>>,
    pub hold_max_ms: Option<Spanned<u64>>,
    pub step_permille: Option<Spanned<u16>>,
}

/// Both together: the windows, and thousandths of a group's traffic.
pub(super) type Paced = (Timing, u16);

fn over<T: Copy>(field: Option<&Spanned<T>>, rest: T) -> T {
    field.map_or(rest, |field| *field.get_ref())
}

fn millis(field: Option<&Spanned<u64>>, rest: Duration) -> Duration {
    field.map_or(rest, |field| Duration::from_millis(*field.get_ref()))
}

fn start<T>(field: Option<&Spanned<T>>) -> Option<usize> {
    field.map(|field| field.span().start)
}

impl Pace {
    /// What stands here, and the rest as in `rest`. Every mistake goes to `told`: where it stands, if here, its field, and a sentence.
    pub fn over(
        &self,
        (rest, step): Paced,
        mut told: impl FnMut(Option<usize>, &'static str, String),
    ) -> Paced {
        let hold_max = millis(self.hold_max_ms.as_ref(), rest.hold_max);
        let timing = Timing {
            raise_k: over(self.raise_k.as_ref(), rest.raise_k),
            raise_n: over(self.raise_n.as_ref(), rest.raise_n),
            doubt_k: over(self.doubt_k.as_ref(), rest.doubt_k),
            clear_n: over(self.clear_n.as_ref(), rest.clear_n),
            hold: millis(self.hold_ms.as_ref(), rest.hold),
            damping: over(self.damping.as_ref(), rest.damping),
            hold_max,
            ..rest
        };
        // What is wrong in `rest` is told there.
        let known: Vec<TimingError> = rest.mistakes().collect();
        for mistake in timing.mistakes().filter(|one| !known.contains(one)) {
            let k = start(self.raise_k.as_ref());
            let hold = start(self.hold_ms.as_ref());
            let (at, field) = match mistake {
                TimingError::Raise { .. } if k.is_none() => {
                    (start(self.raise_n.as_ref()), "raise_n")
                }
                TimingError::Raise { .. } => (k, "raise_k"),
                TimingError::Doubt(_) => (start(self.doubt_k.as_ref()), "doubt_k"),
                TimingError::Clear(_) => (start(self.clear_n.as_ref()), "clear_n"),
                TimingError::Damping => (start(self.damping.as_ref()), "damping"),
                TimingError::Hold { .. } if hold.is_none() => {
                    (start(self.hold_max_ms.as_ref()), "hold_max_ms")
                }
                TimingError::Hold { .. } => (hold, "hold_ms"),
            };
            told(at, field, mistake.to_string());
        }
        let permille = over(self.step_permille.as_ref(), step);
        if permille != step && !(1..=1_000).contains(&permille) {
            let at = start(self.step_permille.as_ref());
            let sentence = format!("step of {permille} thousandths: write 1 to 1000");
            told(at, "step_permille", sentence);
        }
        (timing, permille)
    }
}

/// The fields that `[timing]` and `[[threshold]]` have in common.
macro_rules! pace_of {
    ($section:expr) => {
        Pace {
            raise_k: $section.raise_k.clone(),
            raise_n: $section.raise_n.clone(),
            doubt_k: $section.doubt_k.clone(),
            clear_n: $section.clear_n.clone(),
            hold_ms: $section.hold_ms.clone(),
            damping: $section.damping.clone(),
            hold_max_ms: $section.hold_max_ms.clone(),
            step_permille: $section.step_permille.clone(),
        }
    };
}
pub(super) use pace_of;
