//! From where on quality is bad, and up to where it is good again.

use std::fmt;

use crate::alarm::Verdict;
use crate::report::Report;

/// Two thresholds: between them nothing changes. How far they are apart also says what noise is: a delay, or its variation, that is beyond `raise` by less
/// than that, at most an eighth of it, is in doubt, and must last, unless it was good just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Bad from here on.
    pub raise: u64,
    /// Good up to here.
    pub clear: u64,
}

impl Level {
    /// The verdict, and how many times the raise threshold it is.
    fn judge(&self, figure: Figure, measured: u64) -> (Verdict, f64) {
        let Self { raise, clear } = *self;
        let doubt = match figure {
            // A few probes a second.
            Figure::Delay | Figure::Variation => raise.saturating_sub(clear).min(raise / 8),
            // Counted, or told by whoever has it.
            Figure::Loss | Figure::Available | Figure::Load => 0,
        };
        let (sure, bad, good, beyond) = match figure {
            Figure::Available => (
                measured <= raise,
                measured <= raise,
                measured >= clear,
                raise.max(1) as f64 / measured.max(1) as f64,
            ),
            _ => (
                measured >= raise.saturating_add(doubt),
                measured >= raise,
                measured <= clear,
                measured as f64 / raise.max(1) as f64,
            ),
        };
        let verdict = match () {
            () if sure => Verdict::Bad,
            () if bad => Verdict::Doubtful,
            () if good => Verdict::Good,
            () => Verdict::Between,
        };
        (verdict, beyond)
    }
}

/// What is judged. `None`: this does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Two-way delay that three of four probes keep to, µs; bad from `raise` upwards.
    pub delay_us: Option<Level>,
    /// Delay variation that 95 % keep to, µs; bad from `raise` upwards.
    pub variation_us: Option<Level>,
    /// Lost probes, millionths; bad from `raise` upwards.
    pub loss_ppm: Option<Level>,
    /// Unused bandwidth on the way, kbit/s; bad from `raise` downwards.
    pub available_kbps: Option<Level>,
    /// Load of the member, thousandths; bad from `raise` upwards.
    pub load_permille: Option<Level>,
}

/// What a threshold is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// Two-way delay.
    Delay,
    /// Delay variation.
    Variation,
    /// Lost probes.
    Loss,
    /// Unused bandwidth.
    Available,
    /// Load of the member.
    Load,
}

impl Figure {
    /// A value with its unit, as people read it.
    #[must_use]
    pub fn text(self, value: u64) -> String {
        let thousandth = |value: u64| format!("{}.{}", value / 1_000, value % 1_000 / 100);
        match self {
            Self::Delay | Self::Variation => thousandth(value) + " ms",
            Self::Loss => format!("{}.{} %", value / 10_000, value % 10_000 / 1_000),
            Self::Available => thousandth(value) + " Mbit/s",
            Self::Load => format!("{}.{} %", value / 10, value % 10),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delay => "delay",
            Self::Variation => "delay variation",
            Self::Loss => "loss",
            Self::Available => "available bandwidth",
            Self::Load => "load",
        })
    }
}

/// A figure that is beyond its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub figure: Figure,
    /// As measured.
    pub measured: u64,
    /// The threshold.
    pub raise: u64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.figure {
            Figure::Available => '≤',
            _ => '≥',
        };
        let (measured, raise) = (
            self.figure.text(self.measured),
            self.figure.text(self.raise),
        );
        write!(f, "{} {measured} {sign} {raise}", self.figure)
    }
}

/// Thresholds that would never clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{figure}: raise {raise}, clear {clear}: clear must lie on the good side of raise, apart from it"
)]
pub struct ThresholdError {
    /// Which.
    pub figure: Figure,
    /// As given.
    pub raise: u64,
    /// As given.
    pub clear: u64,
}

impl Thresholds {
    /// Whether each clears on the good side.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), ThresholdError> {
        self.mistakes().next().map_or(Ok(()), Err)
    }

    /// All that do not clear on the good side.
    pub fn mistakes(&self) -> impl Iterator<Item = ThresholdError> {
        self.levels().into_iter().filter_map(|(figure, level)| {
            let Level { raise, clear } = level?;
            let apart = match figure {
                Figure::Available => clear > raise,
                _ => clear < raise,
            };
            (!apart).then_some(ThresholdError {
                figure,
                raise,
                clear,
            })
        })
    }

    /// The way of a pair: everything but the member's load.
    #[must_use]
    pub fn judge_way(&self, figures: &Figures) -> (Verdict, Option<Breach>) {
        self.judge(figures, |figure| figure != Figure::Load)
    }

    /// The load of the member.
    #[must_use]
    pub fn judge_load(&self, figures: &Figures) -> (Verdict, Option<Breach>) {
        self.judge(figures, |figure| figure == Figure::Load)
    }

    /// Bad if one figure is, good if all are; a figure that was not measured says nothing. The breach is the one furthest beyond its threshold.
    fn judge(
        &self,
        figures: &Figures,
        wanted: impl Fn(Figure) -> bool,
    ) -> (Verdict, Option<Breach>) {
        let mut verdict = Verdict::Good;
        let mut worst: Option<(f64, Breach)> = None;
        for (figure, level) in self.levels() {
            let (Some(level), Some(measured)) = (level, figures.0[figure as usize]) else {
                continue;
            };
            if !wanted(figure) {
                continue;
            }
            let (one, beyond) = level.judge(figure, measured);
            verdict = verdict.max(one);
            if one >= Verdict::Doubtful && worst.is_none_or(|(most, _)| beyond > most) {
                let raise = level.raise;
                let breach = Breach {
                    figure,
                    measured,
                    raise,
                };
                worst = Some((beyond, breach));
            }
        }
        (verdict, worst.map(|(_, breach)| breach))
    }

    fn levels(&self) -> [(Figure, Option<Level>); 5] {
        [
            (Figure::Delay, self.delay_us),
            (Figure::Variation, self.variation_us),
            (Figure::Loss, self.loss_ppm),
            (Figure::Available, self.available_kbps),
            (Figure::Load, self.load_permille),
        ]
    }
}

/// The figures of a report, taken out once for all groups that the pair matters to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures([Option<u64>; 5]);

impl Figures {
    /// Of a report; what was not measured is `None`.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let available = report.available_kbps;
        Self([
            report.delay.quantile(750).map(u64::from),
            report.variation.quantile(950).map(u64::from),
            report.loss_ppm().map(u64::from),
            (available != u64::MAX).then_some(available),
            Some(report.load_permille.into()),
        ])
    }

    /// Of the load of a member alone, thousandths.
    #[must_use]
    pub fn of_load(load_permille: u32) -> Self {
        Self([None, None, None, None, Some(load_permille.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(raise: u64, clear: u64) -> Option<Level> {
        Some(Level { raise, clear })
    }

    #[test]
    fn the_furthest_beyond_is_named() {
        let thresholds = Thresholds {
            delay_us: level(30_000, 20_000),
            loss_ppm: level(50_000, 10_000),
            available_kbps: level(1_000, 5_000),
            ..Thresholds::default()
        };
        let mut report = Report::default();
        let judge = |report: &Report| thresholds.judge_way(&Figures::of(report));
        assert_eq!(judge(&report), (Verdict::Good, None));
        report.answer(25_000, None);
        assert_eq!(judge(&report).0, Verdict::Between);
        let mut near = Report::default();
        near.answer(31_000, None);
        assert_eq!(judge(&near).0, Verdict::Doubtful);
        near.answer(36_000, None);
        assert_eq!(judge(&near).0, Verdict::Bad);
        report.available_kbps = 500;
        report.lost();
        let (verdict, breach) = judge(&report);
        assert_eq!(verdict, Verdict::Bad);
        assert_eq!(breach.unwrap().to_string(), "loss 50.0 % ≥ 5.0 %");
        assert_eq!(
            thresholds.judge_load(&Figures::of(&report)),
            (Verdict::Good, None)
        );
    }
}
