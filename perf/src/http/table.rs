//! What came out, for people.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::column::{Column, Protocol};
use super::processes::Process;
use super::report::{Comparison, Report, Summary};
use super::stages::Stages;
use super::statistics::{BreakEven, Spread};

/// All tables.
pub fn show(report: &Report) -> String {
    let mut text = String::new();
    let rounds = report.setting.rounds;
    let more = match report.setting.latency_rounds {
        0 => String::new(),
        more => format!(", at 1,000/s of {}", rounds + more),
    };
    for protocol in Protocol::ALL {
        let rows: Vec<&Summary> = report
            .summary
            .iter()
            .filter(|s| s.protocol == protocol)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n{}: answers of {} bytes, medians of {rounds} rounds{more}; CPU of all processes on the path per answer, softirqs included\n{}\n",
            protocol.text(),
            report.setting.size,
            main(&rows)
        );
        let _ = write!(text, "\nCPU µs per answer, by rate\n{}\n", curve(&rows));
        let _ = write!(
            text,
            "\nadded CPU µs per answer by stage (reckoned: crypto {:.2} µs a call, a wake-up {:.2} µs at the highest rate and {:.2} µs at 1,000/s)\n{}\n",
            report.setting.prices.crypto_us,
            report.setting.prices.wake_up_busy_us,
            report.setting.prices.wake_up_idle_us,
            stages(&rows)
        );
        let _ = write!(
            text,
            "\nCPU µs per answer by process; in the order in which a call meets them, edge: or the proxy in its place\n{}\n",
            processes(&rows)
        );
        for row in &rows {
            for (peer, even) in &row.break_even {
                let _ = writeln!(text, "{}", break_even(row.column, peer, *even));
            }
        }
        for (ours, comparison) in report.comparison.get(protocol.text()).into_iter().flatten() {
            text.push_str(&ratios(ours, comparison));
        }
    }
    for left in &report.left_out {
        let _ = writeln!(text, "left out: {}: {}", left.column.text(), left.reason);
    }
    let foreign = report.summary.iter().map(|s| s.foreign).fold(0.0, f64::max);
    if foreign > 0.1 {
        let _ = writeln!(
            text,
            "the machine was not quiet: up to {:.0} % of the busy time at a point was somebody else's; the CPU figures do not contain it, latencies and highest rates suffer from it",
            foreign * 100.0
        );
    }
    if report.machine.own.build.starts_with("debug") {
        text.push_str("this is a debug build: nothing of ours can be compared\n");
    }
    text
}

fn table(head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let columns = head.len();
    table.set_header(head);
    table.add_rows(rows);
    for number in 1..columns {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "-".into(), |s| format!("{:.digits$}", s.median))
}

fn main(rows: &[&Summary]) -> String {
    let head = words(&[
        "COLUMN",
        "MAX/S",
        "CPU µs",
        "ADDED µs",
        "P50 µs",
        "P99 µs",
        "P99.9 µs",
        "ADDED P50",
        "ADDED P99",
        "MB, 1",
        "MB, MORE",
        "GBIT/S",
        "FAILED",
    ]);
    let row = |s: &&Summary| {
        let memory = |many: bool| {
            s.memory
                .iter()
                .find(|m| (m.services > 1) == many)
                .map_or_else(|| "-".into(), |m| format!("{:.0}", m.node_mb()))
        };
        vec![
            s.column.text().into(),
            median(s.rps, 0),
            median(s.cpu_us, 1),
            median(s.added_cpu_us, 1),
            median(s.p50_us, 0),
            median(s.p99_us, 0),
            median(s.p999_us, 0),
            median(s.added_p50_us, 0),
            median(s.added_p99_us, 0),
            memory(false),
            memory(true),
            median(s.throughput_gbps, 1),
            s.failed.to_string(),
        ]
    };
    table(head, rows.iter().map(row).collect())
}

fn curve(rows: &[&Summary]) -> String {
    let mut rates: Vec<u64> = rows
        .iter()
        .flat_map(|s| s.curve.iter().filter_map(|p| p.rate))
        .collect();
    rates.sort_unstable();
    rates.dedup();
    let wanted: Vec<Option<u64>> = rates.into_iter().map(Some).chain([None]).collect();
    let mut head = words(&["COLUMN"]);
    head.extend(wanted.iter().map(|rate| match rate {
        Some(rate) => format!("{rate}/S"),
        None => "MAX".into(),
    }));
    let row = |s: &&Summary| {
        let mut row = vec![s.column.text().to_string()];
        row.extend(wanted.iter().map(|rate| {
            let point = s.curve.iter().find(|p| p.rate == *rate);
            median(point.map(|p| p.cpu_us), 1)
        }));
        row
    };
    table(head, rows.iter().map(row).collect())
}

fn stages(rows: &[&Summary]) -> String {
    let mut head = words(&["COLUMN", "AT"]);
    head.extend(Stages::default().all().map(|(name, _)| name.to_uppercase()));
    head.push("ALL".into());
    let row = |s: &Summary, at: &str, stages: Option<Stages>| {
        let stages = stages?;
        let mut row = vec![s.column.text().to_string(), at.to_string()];
        row.extend(stages.all().map(|(_, us)| format!("{us:.1}")));
        row.push(format!("{:.1}", stages.added_us));
        Some(row)
    };
    let all = rows
        .iter()
        .filter(|s| s.column != Column::Direct)
        .flat_map(|s| {
            [
                row(s, "max", s.stages_at_maximum),
                row(s, "1000/s", s.stages_at_1000),
            ]
        })
        .flatten();
    table(head, all.collect())
}

fn processes(rows: &[&Summary]) -> String {
    let mut head = words(&["COLUMN", "AT"]);
    head.extend(Process::ALL.map(|(name, ..)| name.to_uppercase()));
    head.push("ALL".into());
    let row = |s: &Summary, at: &str, all: &[Process]| {
        let of = |part, side| {
            let found = all.iter().find(|p| p.part == part && p.side == side);
            found.map_or_else(|| "-".into(), |p| format!("{:.1}", p.used.cpu_us))
        };
        let mut row = vec![s.column.text().to_string(), at.to_string()];
        row.extend(Process::ALL.map(|(_, part, side)| of(part, side)));
        let sum: f64 = all.iter().map(|p| p.used.cpu_us).sum();
        row.push(format!("{sum:.1}"));
        (!all.is_empty()).then_some(row)
    };
    let both = rows.iter().flat_map(|s| {
        [
            row(s, "max", &s.processes_at_maximum),
            row(s, "1000/s", &s.processes_at_1000),
        ]
    });
    table(head, both.flatten().collect())
}

fn break_even(ours: Column, peer: &str, even: BreakEven) -> String {
    let ours = ours.text();
    match even {
        BreakEven::Always => {
            format!("{ours} adds no more CPU than {peer} at any rate that both reached")
        }
        BreakEven::From(rate) => format!("{ours} adds no more CPU than {peer} from {rate:.0}/s on"),
        BreakEven::Never => {
            format!(
                "{ours} adds more CPU than {peer} at the highest rate of the curve that both reached"
            )
        }
    }
}

fn ratios(ours: &str, all: &Comparison) -> String {
    let figures = [
        ("added CPU / envoy", all.cpu_vs_envoy),
        ("added CPU / haproxy-http", all.cpu_vs_haproxy),
        ("added CPU / haproxy-tcp", all.cpu_vs_haproxy_tcp),
        ("max / envoy", all.rps_vs_envoy),
        ("max / haproxy-http", all.rps_vs_haproxy),
        ("added p50 / envoy", all.p50_vs_envoy),
        ("added p99 / envoy", all.p99_vs_envoy),
        ("Gbit/s / haproxy-tcp", all.throughput_vs_haproxy_tcp),
    ];
    let mut text = String::new();
    for (what, spread) in figures {
        if let Some(s) = spread {
            let _ = writeln!(
                text,
                "{ours}: {what}: {:.2} ({:.2} to {:.2} in {} rounds)",
                s.median, s.min, s.max, s.rounds
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_is_cheaper_where() {
        assert_eq!(
            break_even(Column::Edge, "envoy", BreakEven::From(812.4)),
            "edge adds no more CPU than envoy from 812/s on"
        );
        let spread = Spread {
            median: 0.5,
            min: 0.4,
            max: 0.6,
            rounds: 5,
        };
        let all = Comparison {
            cpu_vs_envoy: Some(spread),
            ..Comparison::default()
        };
        assert_eq!(
            ratios("edge", &all),
            "edge: added CPU / envoy: 0.50 (0.40 to 0.60 in 5 rounds)\n"
        );
        assert_eq!(median(None, 0), "-");
    }
}
