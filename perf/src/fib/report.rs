//! What came out, for people and for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::columns::{Account, Filled};
use super::measure::Sample;
use crate::record::{Spread, spread};

/// All tables of one round.
#[derive(Debug, Serialize)]
pub struct Round {
    /// What every table did.
    pub samples: Vec<Sample>,
}

/// One table over all rounds.
#[derive(Debug, Default, Clone, Serialize)]
pub struct TableResult {
    /// The table.
    pub table: String,
    /// Lookups per second of CPU, median.
    pub lookups_per_s: f64,
    /// Slowest round.
    pub lookups_per_s_min: f64,
    /// Fastest round.
    pub lookups_per_s_max: f64,
    /// CPU time of a lookup, ns.
    pub ns: f64,
    /// Cycles of the time-stamp counter per lookup.
    pub cycles: f64,
    /// Share of the names that was found.
    pub found: f64,
    /// CPU time from nothing until all prefixes were in the table, s; memory of DPDK, which is there before, not included.
    pub build_s: Option<f64>,
    /// Bytes of the table, names or keys and free places included.
    pub bytes_per_prefix: Option<f64>,
    /// How they are known.
    pub bytes_account: Option<Account>,
}

impl TableResult {
    /// What was known of a table of `prefixes` before the first round.
    pub fn fill(&mut self, filled: &Filled<'_>, prefixes: usize) {
        let bytes = filled.column.bytes();
        self.build_s = Some(filled.build_s);
        self.bytes_per_prefix = bytes.map(|bytes| bytes.count as f64 / prefixes.max(1) as f64);
        self.bytes_account = bytes.map(|bytes| bytes.account);
    }

    /// Bytes for people.
    fn bytes(&self) -> String {
        match (self.bytes_per_prefix, self.bytes_account) {
            (Some(bytes), Some(Account::Reckoned)) => format!("≈{bytes:.1}"),
            (Some(bytes), _) => format!("{bytes:.1}"),
            (None, _) => String::new(),
        }
    }
}

/// The result of a run; `ratio` and what else has no table's name is the name table's.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    pub prefixes: usize,
    pub traffic: String,
    pub mean_name_bytes: f64,
    pub mean_components: f64,
    pub lookups_per_s: f64,
    pub ns: f64,
    pub cycles: f64,
    /// Ours over rte_hash's lookups per second, median of the rounds' ratios; hostile: under ordinary names.
    pub ratio: Option<f64>,
    pub ratio_min: Option<f64>,
    pub ratio_max: Option<f64>,
    pub bytes_per_prefix: f64,
    /// By the kernel's account: what this process had grown by once the table was there.
    pub resident_bytes_per_prefix: f64,
    pub build_s: f64,
    /// Share of the name table in huge pages, by the kernel's account of the whole process.
    pub huge_page_share: f64,
    /// Time of a hostile lookup over that of an ordinary one of as many components, the worst kind's median.
    pub hostile_ratio: Option<f64>,
    /// How many those are.
    pub hostile_components: Option<u8>,
    pub hostile_ratio_min: Option<f64>,
    pub hostile_ratio_max: Option<f64>,
    pub tables: Vec<TableResult>,
}

impl Outcome {
    /// Takes up how the name table compares with rte_hash, if that was measured.
    pub fn compare(&mut self, ratio: Option<Spread>) {
        self.ratio = ratio.map(|ratio| ratio.median);
        self.ratio_min = ratio.map(|ratio| ratio.min);
        self.ratio_max = ratio.map(|ratio| ratio.max);
    }
}

/// Ratio of the lookups per second of two tables, round by round.
pub fn ratio(rounds: &[Round], table: &str, base: &str) -> Option<Spread> {
    let of = |round: &Round, word: &str| {
        let sample = round.samples.iter().find(|sample| sample.table == word)?;
        Some(sample.lookups_per_s)
    };
    let ratios: Vec<f64> = rounds
        .iter()
        .filter_map(|round| Some(of(round, table)? / of(round, base)?))
        .collect();
    spread(&ratios)
}

/// Every table that was measured, in the order of the first round.
pub fn tables(rounds: &[Round], tsc_hz: f64) -> Vec<TableResult> {
    let Some(first) = rounds.first() else {
        return Vec::new();
    };
    let result = |word: &'static str| {
        let samples = || {
            let all = rounds.iter().flat_map(|round| &round.samples);
            all.filter(|sample| sample.table == word)
        };
        let rates: Vec<f64> = samples().map(|sample| sample.lookups_per_s).collect();
        let rate = spread(&rates)?;
        Some(TableResult {
            table: word.into(),
            lookups_per_s: rate.median,
            lookups_per_s_min: rate.min,
            lookups_per_s_max: rate.max,
            ns: 1e9 / rate.median,
            cycles: tsc_hz / rate.median,
            found: samples().next().map_or(0.0, Sample::found_share),
            ..TableResult::default()
        })
    };
    first
        .samples
        .iter()
        .filter_map(|sample| result(sample.table))
        .collect()
}

/// For people.
pub fn text(outcome: &Outcome, rounds: &[Round]) -> String {
    if outcome.prefixes == 0 {
        return "the name table was not filled, so nothing was measured".into();
    }
    let measured = match outcome.tables.is_empty() {
        true => "no round was measured".into(),
        false => table(outcome, rounds),
    };
    format!(
        "{} prefixes of {:.1} bytes and {:.1} components, traffic {}\n\
         built in {:.2} s, {:.1} bytes per prefix, {:.1} by the kernel's account, {:.0} % in huge pages\n\n{measured}",
        outcome.prefixes,
        outcome.mean_name_bytes,
        outcome.mean_components,
        outcome.traffic,
        outcome.build_s,
        outcome.bytes_per_prefix,
        outcome.resident_bytes_per_prefix,
        outcome.huge_page_share * 100.0,
    )
}

/// All tables, a row each.
fn table(outcome: &Outcome, rounds: &[Round]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "table",
        "M lookups/s",
        "least–most",
        "ns",
        "cycles",
        "found %",
        "build s",
        "bytes/prefix",
        "ours is ×",
    ]);
    let ours = outcome.tables.first().map_or("ours", |t| t.table.as_str());
    for result in &outcome.tables {
        let ratio = ratio(rounds, ours, &result.table);
        table.add_row([
            result.table.clone(),
            format!("{:.1}", result.lookups_per_s / 1e6),
            format!(
                "{:.1}–{:.1}",
                result.lookups_per_s_min / 1e6,
                result.lookups_per_s_max / 1e6
            ),
            format!("{:.1}", result.ns),
            format!("{:.0}", result.cycles),
            format!("{:.0}", result.found * 100.0),
            result
                .build_s
                .map_or(String::new(), |seconds| format!("{seconds:.2}")),
            result.bytes(),
            ratio
                .filter(|_| result.table != ours)
                .map_or(String::new(), |r| {
                    format!("{:.2} ({:.2}–{:.2})", r.median, r.min, r.max)
                }),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let components = outcome.hostile_components.unwrap_or_default();
    let hostile = outcome.hostile_ratio.map_or(String::new(), |ratio| {
        format!(
            "\nworst attack: {ratio:.2} × the time of an ordinary name of {components} components"
        )
    });
    let is_reckoned = |table: &TableResult| table.bytes_account == Some(Account::Reckoned);
    let reckoned = match outcome.tables.iter().any(is_reckoned) {
        true => {
            "\n≈: reckoned from what the table was made with, room for half as many again included; the others count"
        }
        false => "",
    };
    format!("{table}{hostile}{reckoned}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::columns::{Bytes, Column};
    use super::*;

    fn round(ours: u64, theirs: u64) -> Round {
        let second = Duration::from_secs(1);
        let sample = |table, lookups| Sample::new(table, lookups, lookups, second);
        Round {
            samples: vec![sample("ours", ours), sample("rte_hash", theirs)],
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = [round(80, 100), round(20, 20), round(90, 100)];
        let ratio = ratio(&rounds, "ours", "rte_hash").expect("three");
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.9, 0.8, 1.0));
        let tables = tables(&rounds, 2.0);
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].lookups_per_s, 80.0);
        let outcome = Outcome {
            prefixes: 10,
            tables,
            ..Outcome::default()
        };
        let text = text(&outcome, &rounds);
        assert!(text.contains("0.90 (0.80–1.00)"), "{text}");
    }

    /// A table that only says what it takes.
    struct Fixed(Option<Bytes>);

    impl Column for Fixed {
        fn word(&self) -> &'static str {
            "fixed"
        }

        fn burst(&mut self) -> usize {
            0
        }

        fn bytes(&self) -> Option<Bytes> {
            self.0
        }
    }

    #[test]
    fn what_a_table_takes_is_said_with_whose_account_it_is() {
        let result = |bytes| {
            let mut result = TableResult::default();
            result.fill(&Filled::new(Fixed(bytes), 1.25), 100);
            result
        };
        let tables = [
            Some(Bytes::counted(4_000)),
            Some(Bytes::reckoned(9_770)),
            None,
        ]
        .map(result);
        let value = serde_json::to_value(&tables).expect("JSON");
        assert_eq!(value[0]["build_s"], 1.25);
        assert_eq!(value[0]["bytes_per_prefix"], 40.0);
        assert_eq!(value[0]["bytes_account"], "counted");
        assert_eq!(value[1]["bytes_account"], "reckoned");
        assert_eq!(value[2]["bytes_per_prefix"], serde_json::Value::Null);
        let outcome = Outcome {
            prefixes: 100,
            tables: tables.to_vec(),
            ..Outcome::default()
        };
        let text = text(&outcome, &[]);
        for expected in ["40.0", "≈97.7", "1.25", "≈: reckoned"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn a_run_that_failed_says_how_far_it_came() {
        let empty = text(&Outcome::default(), &[]);
        assert!(empty.contains("was not filled"), "{empty}");
        let filled = Outcome {
            prefixes: 7,
            ..Outcome::default()
        };
        let filled = text(&filled, &[]);
        assert!(
            filled.contains("7 prefixes") && filled.contains("no round was measured"),
            "{filled}"
        );
    }
}
