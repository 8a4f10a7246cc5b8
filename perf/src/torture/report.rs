//! What came out: a row per port, what is wrong, a table and JSON.

use std::collections::BTreeMap;

use dmsc_proto::v1::PortCounters;
use serde::Serialize;

/// One port.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// Kind of the port.
    pub kind: String,
    /// Its name.
    pub port: String,
    /// Frames sent into it by this program; of null ports: that they gave.
    pub frames: u64,
    /// Seconds that this took.
    pub seconds: f64,
    /// Frames that it received during that time.
    pub received: u64,
    /// Frames that it received in all, hellos and echoes included.
    pub rx: u64,
    /// Frames that were lost before it.
    pub missed: u64,
    /// Made by the router on its behalf.
    pub originated: u64,
    /// Sent on.
    pub sent: u64,
    /// Ended on purpose.
    pub consumed: u64,
    /// Dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// What is left of the packet equation.
    pub in_flight: i64,
    /// Whether an echo into it was answered; `None` where none can be seen.
    pub echo: Option<bool>,
}

/// rx + originated − sent − consumed − Σ drops (design §4.1).
pub fn in_flight(counters: &PortCounters) -> i64 {
    let came = counters.rx + counters.originated;
    let went = counters.sent + counters.consumed + counters.drops.values().sum::<u64>();
    came.wrapping_sub(went) as i64
}

impl Row {
    /// Adds what the dataplane counted.
    pub fn count(&mut self, counters: &PortCounters) {
        self.rx += counters.rx;
        self.originated += counters.originated;
        self.sent += counters.sent;
        self.consumed += counters.consumed;
        self.in_flight += in_flight(counters);
        for (reason, count) in &counters.drops {
            *self.drops.entry(reason.clone()).or_default() += count;
        }
    }

    /// Frames per second into it.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.frames as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// The five most frequent drop reasons.
    fn top_drops(&self) -> String {
        let mut drops: Vec<_> = self.drops.iter().collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let top = drops
            .iter()
            .take(5)
            .map(|(reason, count)| format!("{reason} {count}"));
        top.collect::<Vec<_>>().join(", ")
    }
}

/// What a dataplane's memory did.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Which dataplane.
    pub dataplane: String,
    /// Resident, after the first tenth of the time, KiB.
    pub early_kib: u64,
    /// Resident at the end, KiB.
    pub late_kib: u64,
}

impl Memory {
    /// What is wrong with it: more than 5 % and 8 MiB of growth.
    pub fn problem(&self) -> Option<String> {
        let most = self.early_kib + self.early_kib / 20 + 8 * 1024;
        (self.late_kib > most).then(|| {
            format!(
                "memory of the dataplane {} grew from {} KiB after a tenth of the time to {} KiB, more than {most} KiB",
                self.dataplane, self.early_kib, self.late_kib
            )
        })
    }
}

/// Everything.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// By port.
    pub ports: Vec<Row>,
    /// By dataplane.
    pub memory: Vec<Memory>,
    /// Kinds that cannot run here, with the reason.
    pub skipped: Vec<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Report {
    /// Takes over another one.
    pub fn extend(&mut self, other: Report) {
        self.ports.extend(other.ports);
        self.memory.extend(other.memory);
        self.skipped.extend(other.skipped);
        self.problems.extend(other.problems);
    }

    /// Adds what the rows and the memory show: the equation, the echoes, and the `rate` of every kind.
    pub fn judge(&mut self, rate: u64) {
        let mut kinds: BTreeMap<&str, (u64, u64, f64)> = BTreeMap::new();
        for row in &self.ports {
            if row.in_flight != 0 {
                self.problems.push(format!(
                    "port {}: the packet equation does not hold, {} packets are in no counter",
                    row.port, row.in_flight
                ));
            }
            if row.echo == Some(false) {
                self.problems.push(format!(
                    "port {}: the echo at the end was not answered",
                    row.port
                ));
            }
            let sums = kinds.entry(&row.kind).or_default();
            *sums = (
                sums.0 + row.frames,
                sums.1 + row.rx,
                sums.2.max(row.seconds),
            );
        }
        for (kind, (frames, rx, seconds)) in kinds {
            let wanted = (rate as f64 * seconds) as u64;
            for (count, what) in [(frames, "sent"), (rx, "received")] {
                if count < wanted {
                    self.problems.push(format!(
                        "kind {kind}: {count} frames {what} in {seconds:.1} s, {rate}/s would be {wanted}: is the machine busy with something else?"
                    ));
                }
            }
        }
        self.problems
            .extend(self.memory.iter().filter_map(Memory::problem));
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header([
            "PORT",
            "FRAMES",
            "FRAMES/S",
            "RX",
            "MISSED",
            "MADE",
            "SENT",
            "CONSUMED",
            "DROPPED",
            "IN FLIGHT",
            "ECHO",
        ]);
        for row in &self.ports {
            table.add_row([
                row.port.clone(),
                row.frames.to_string(),
                format!("{:.0}", row.rate()),
                row.rx.to_string(),
                row.missed.to_string(),
                row.originated.to_string(),
                row.sent.to_string(),
                row.consumed.to_string(),
                row.drops.values().sum::<u64>().to_string(),
                row.in_flight.to_string(),
                match row.echo {
                    Some(true) => "answered".into(),
                    Some(false) => "LOST".into(),
                    None => "-".into(),
                },
            ]);
        }
        for column in 1..10 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        let mut text = table.to_string();
        for row in &self.ports {
            text.push_str(&format!("\ndrops {}: {}", row.port, row.top_drops()));
        }
        for memory in &self.memory {
            text.push_str(&format!(
                "\nmemory {}: {} KiB after a tenth of the time, {} KiB at the end",
                memory.dataplane, memory.early_kib, memory.late_kib
            ));
        }
        text
    }

    /// The last line.
    pub fn verdict(&self) -> String {
        if !self.problems.is_empty() {
            // One line, also where a log is quoted.
            let problems = self.problems.join("; ").replace('\n', " | ");
            return format!("torture: FAILED ({problems})");
        }
        let frames: u64 = self.ports.iter().map(|row| row.frames).sum();
        let received: u64 = self.ports.iter().map(|row| row.received).sum();
        let seconds = self.ports.iter().map(|row| row.seconds).fold(0.0, f64::max);
        let skipped = match self.skipped.as_slice() {
            [] => String::new(),
            some => format!(", skipped: {}", some.join("; ")),
        };
        format!(
            "torture: ok (frames {frames} into {} ports in {seconds:.0} s, received {received}, in flight 0{skipped})",
            self.ports.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            kind: "memif".into(),
            port: "memif-r".into(),
            frames: 2000,
            received: 2000,
            seconds: 1.0,
            echo: Some(true),
            ..Row::default()
        }
    }

    fn counted(rx: u64) -> Row {
        let mut row = row();
        row.count(&PortCounters {
            port: "memif-r".into(),
            rx,
            originated: 1,
            sent: 1000,
            consumed: 1,
            drops: [("no-route".to_string(), 1000)].into(),
            ..PortCounters::default()
        });
        row
    }

    #[test]
    fn each_kind_of_problem_is_found() {
        let judge = |row: Row| {
            let mut report = Report {
                ports: vec![row],
                ..Report::default()
            };
            report.judge(2000);
            report
        };
        let report = judge(counted(2000));
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(
            report.verdict().starts_with("torture: ok (frames 2000 "),
            "{}",
            report.verdict()
        );
        assert!(report.table().contains("no-route 1000"));
        assert!(judge(counted(2001)).problems[0].contains("1 packets are in no counter"));
        let lost = Row {
            echo: Some(false),
            ..counted(2000)
        };
        assert!(
            judge(lost)
                .verdict()
                .contains("FAILED (port memif-r: the echo")
        );
        let slow = Row {
            seconds: 1.5,
            ..counted(2000)
        };
        assert_eq!(judge(slow).problems.len(), 2, "sent and received");
    }

    #[test]
    fn memory_may_grow_a_little() {
        let memory = |late_kib| Memory {
            dataplane: "x".into(),
            early_kib: 100_000,
            late_kib,
        };
        assert_eq!(memory(113_192).problem(), None);
        assert!(memory(113_193).problem().is_some());
    }
}
