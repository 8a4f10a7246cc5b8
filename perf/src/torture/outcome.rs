//! What a run leaves behind: every round with all of its ports, and what they amount to.

use serde::Serialize;

use super::Options;
use super::report::Report;

/// Of some ports together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sums {
    /// How long they were under fire, s; rounds come one after the other, ports of a round are so at the same time.
    pub fire_s: f64,
    /// Frames sent into them by this program.
    pub frames: u64,
    /// Frames that they received during that time.
    pub received: u64,
    /// Of these, how many a second.
    pub received_per_s: f64,
    /// Frames that they received in all, hellos and echoes included.
    pub rx: u64,
    /// Frames that were lost before them.
    pub missed: u64,
    /// Made by the router on their behalf.
    pub originated: u64,
    /// Sent on.
    pub sent: u64,
    /// Ended on purpose.
    pub consumed: u64,
    /// Dropped, for whatever reason.
    pub dropped: u64,
    /// What is left of the packet equation.
    pub in_flight: i64,
    /// Of the dataplane that grew most, from a tenth of the time to its end.
    pub memory_grown_percent: f64,
}

impl Sums {
    /// Of one round.
    fn of(report: &Report) -> Sums {
        let mut sums = Sums::default();
        for row in &report.ports {
            sums.fire_s = sums.fire_s.max(row.seconds);
            sums.frames += row.frames;
            sums.received += row.received;
            sums.rx += row.rx;
            sums.missed += row.missed;
            sums.originated += row.originated;
            sums.sent += row.sent;
            sums.consumed += row.consumed;
            sums.dropped += row.drops.values().sum::<u64>();
            sums.in_flight += row.in_flight;
        }
        let grown = report
            .memory
            .iter()
            .map(|memory| 100.0 * (memory.late_kib as f64 / memory.early_kib.max(1) as f64 - 1.0));
        sums.memory_grown_percent = grown.reduce(f64::max).unwrap_or(0.0);
        sums.with_rate()
    }

    /// Of this one and a later one.
    fn and(self, later: &Sums) -> Sums {
        let sums = Sums {
            fire_s: self.fire_s + later.fire_s,
            frames: self.frames + later.frames,
            received: self.received + later.received,
            received_per_s: 0.0,
            rx: self.rx + later.rx,
            missed: self.missed + later.missed,
            originated: self.originated + later.originated,
            sent: self.sent + later.sent,
            consumed: self.consumed + later.consumed,
            dropped: self.dropped + later.dropped,
            in_flight: self.in_flight + later.in_flight,
            memory_grown_percent: self.memory_grown_percent.max(later.memory_grown_percent),
        };
        sums.with_rate()
    }

    fn with_rate(self) -> Sums {
        let received_per_s = match self.fire_s > 0.0 {
            true => self.received as f64 / self.fire_s,
            false => 0.0,
        };
        Sums {
            received_per_s,
            ..self
        }
    }
}

/// What was under fire at a time: all kinds, or one of them.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Kinds of ports.
    pub kinds: String,
    /// All of them.
    #[serde(flatten)]
    pub sums: Sums,
    /// Each of them, and what was wrong.
    #[serde(flatten)]
    pub report: Report,
}

impl Round {
    /// Of `kinds`.
    pub fn new(kinds: &str, report: Report) -> Round {
        Round {
            kinds: kinds.into(),
            sums: Sums::of(&report),
            report,
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// The run came to its end, and nothing is wrong.
    pub ok: bool,
    /// Of all frames.
    pub seed: u64,
    /// How long frames were to be sent; one kind after the other: into each.
    pub seconds: u64,
    /// Frames per second and kind that were asked for.
    pub rate: u64,
    /// Of all rounds.
    #[serde(flatten)]
    pub sums: Sums,
    /// Kinds that cannot run here, with the reason.
    pub skipped: Vec<String>,
    /// What is wrong.
    pub problems: Vec<String>,
    /// All of it in a line.
    pub verdict: String,
}

impl Outcome {
    /// Of all rounds, of which `report` has everything; `error` ended the run early.
    pub fn new(
        options: &Options,
        rounds: &[Round],
        report: &Report,
        error: Option<&anyhow::Error>,
    ) -> Outcome {
        let sums = rounds.iter().map(|round| round.sums);
        Outcome {
            ok: error.is_none() && report.problems.is_empty(),
            seed: options.seed,
            seconds: options.seconds,
            rate: options.rate,
            sums: sums
                .reduce(|sums, later| sums.and(&later))
                .unwrap_or_default(),
            skipped: report.skipped.clone(),
            problems: report.problems.clone(),
            verdict: match error {
                Some(error) => format!("torture: not run to its end ({error:#})"),
                None => report.verdict(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::report::{Memory, Row};
    use super::*;

    fn report(port: &str, seconds: f64, late_kib: u64) -> Report {
        Report {
            ports: vec![Row {
                port: port.into(),
                frames: 2_100,
                seconds,
                received: 2_000,
                rx: 2_003,
                sent: 1_000,
                drops: [("no-route".to_string(), 1_000), ("ttl".to_string(), 3)].into(),
                ..Row::default()
            }],
            memory: vec![Memory {
                dataplane: port.into(),
                early_kib: 100_000,
                late_kib,
            }],
            ..Report::default()
        }
    }

    fn options() -> Options {
        Options {
            kinds: vec![Kind::Memif, Kind::Tap],
            seconds: 2,
            rate: 1_000,
            seed: 42,
            each: true,
            json: None,
            dataplane: "dmsc-dataplane".into(),
        }
    }

    #[test]
    fn rounds_one_after_the_other_add_up() {
        let reports = [
            report("memif-r", 2.0, 101_000),
            report("tap-r", 3.0, 104_000),
        ];
        let mut whole = Report {
            skipped: vec!["af_xdp (no)".into()],
            ..Report::default()
        };
        let rounds = reports.map(|report| {
            whole.extend(report.clone());
            Round::new("one", report)
        });
        let outcome = Outcome::new(&options(), &rounds, &whole, None);
        assert!(
            outcome.ok && outcome.verdict.starts_with("torture: ok"),
            "{}",
            outcome.verdict
        );
        let sums = outcome.sums;
        assert_eq!(
            (sums.frames, sums.received, sums.dropped),
            (4_200, 4_000, 2_006)
        );
        assert_eq!((sums.fire_s, sums.received_per_s), (5.0, 800.0));
        assert!((sums.memory_grown_percent - 4.0).abs() < 1e-9);
        let value = serde_json::to_value(&rounds[0]).expect("JSON");
        assert_eq!(value["kinds"], "one");
        assert_eq!(value["received_per_s"], 1_000.0);
        assert_eq!(value["ports"][0]["drops"]["ttl"], 3);
        let value = serde_json::to_value(&outcome).expect("JSON");
        assert_eq!(value["seed"], 42);
        assert_eq!(value["dropped"], 2_006);
        assert_eq!(value["skipped"][0], "af_xdp (no)");
    }

    #[test]
    fn what_ended_early_is_not_ok() {
        let error = anyhow::anyhow!("interrupted");
        let outcome = Outcome::new(&options(), &[], &Report::default(), Some(&error));
        assert!(!outcome.ok);
        assert_eq!(outcome.verdict, "torture: not run to its end (interrupted)");
        let wrong = Report {
            problems: vec!["memory grew".into()],
            ..Report::default()
        };
        assert!(!Outcome::new(&options(), &[], &wrong, None).ok);
    }
}
