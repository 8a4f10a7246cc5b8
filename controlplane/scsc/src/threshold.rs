//! From where on quality is bad, and up to where it is good again; for a service group or a subtree of prefixes.

use std::collections::BTreeMap;
use std::fmt;

use dmsc_wire::{Domain, Name, NameBuf};

use crate::alarm::Verdict;
use crate::report::Report;

/// Two thresholds: between them nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Bad from here on.
    pub raise: u64,
    /// Good up to here.
    pub clear: u64,
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
        for (figure, level) in self.levels() {
            let Some(Level { raise, clear }) = level else {
                continue;
            };
            let apart = match figure {
                Figure::Available => clear > raise,
                _ => clear < raise,
            };
            if !apart {
                return Err(ThresholdError {
                    figure,
                    raise,
                    clear,
                });
            }
        }
        Ok(())
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
            let (bad, good, beyond) = match figure {
                Figure::Available => (
                    measured <= level.raise,
                    measured >= level.clear,
                    level.raise.max(1) as f64 / measured.max(1) as f64,
                ),
                _ => (
                    measured >= level.raise,
                    measured <= level.clear,
                    measured as f64 / level.raise.max(1) as f64,
                ),
            };
            if bad {
                verdict = Verdict::Bad;
                if worst.is_none_or(|(most, _)| beyond > most) {
                    let raise = level.raise;
                    worst = Some((
                        beyond,
                        Breach {
                            figure,
                            measured,
                            raise,
                        },
                    ));
                }
            } else if !good && verdict == Verdict::Good {
                verdict = Verdict::Between;
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
}

/// Thresholds by prefix: the longest that covers a name decides.
#[derive(Debug, Clone, Default)]
pub struct ThresholdTable {
    entries: BTreeMap<(Domain, NameBuf), Thresholds>,
    others: Thresholds,
}

impl ThresholdTable {
    /// These for every name that nothing else covers.
    ///
    /// # Errors
    /// When one of them could never clear.
    pub fn new(others: Thresholds) -> Result<Self, ThresholdError> {
        others.check()?;
        Ok(Self {
            entries: BTreeMap::new(),
            others,
        })
    }

    /// These for `name` and what is below it.
    ///
    /// # Errors
    /// When one of them could never clear; nothing changes then.
    pub fn set(
        &mut self,
        domain: Domain,
        name: NameBuf,
        thresholds: Thresholds,
    ) -> Result<(), ThresholdError> {
        thresholds.check()?;
        self.entries.insert((domain, name), thresholds);
        Ok(())
    }

    /// Those of a service group.
    #[must_use]
    pub fn of(&self, domain: Domain, name: Name<'_>) -> Thresholds {
        (1..=name.component_count())
            .rev()
            .find_map(|components| {
                self.entries
                    .get(&(domain, name.prefix(components).to_owned()))
            })
            .copied()
            .unwrap_or(self.others)
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

    #[test]
    fn the_longest_prefix_decides() {
        let name = |text| NameBuf::parse(text).unwrap();
        let of = |delay| Thresholds {
            delay_us: level(delay, delay / 2),
            ..Thresholds::default()
        };
        let mut table = ThresholdTable::new(of(10)).unwrap();
        table.set(Domain(1), name("/shop"), of(20)).unwrap();
        table.set(Domain(1), name("/shop/cart"), of(30)).unwrap();
        for (domain, text, delay) in [
            (1, "/shop/cart/v1", 30),
            (1, "/shop/cartoon", 20),
            (2, "/shop/cart", 10),
        ] {
            assert_eq!(table.of(Domain(domain), name(text).as_name()), of(delay));
        }
        let wrong = Thresholds {
            available_kbps: level(10, 5),
            ..Thresholds::default()
        };
        let error = table.set(Domain(1), name("/x"), wrong).unwrap_err();
        assert!(error.to_string().contains("available bandwidth"), "{error}");
    }
}
