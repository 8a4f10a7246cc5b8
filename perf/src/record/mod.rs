//! What every measurement leaves behind: what was asked, on what machine, every round as it was measured, and what came out.
//!
//! `machine`: what it ran on; `statistics`: medians and ranges; `visible`: times of transactions; `progress`: what people see meanwhile.

mod machine;
mod progress;
mod statistics;
mod visible;

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

pub use machine::{LINKING, Machine};
pub use progress::Progress;
pub use statistics::{Spread, ratio, spread};
pub use visible::VisibleMs;

/// Version of the JSON: a field that changes its meaning raises it.
pub const SCHEMA: u32 = 1;

/// One run of a command.
#[derive(Debug, Clone, Serialize)]
pub struct Record<Round: Serialize, Outcome: Serialize> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How it was started.
    pub command: String,
    /// The subcommand: `dmsc-perf report` draws by it.
    pub name: &'static str,
    /// What it ran on.
    pub machine: Machine,
    /// All rounds were measured; false until the command says otherwise.
    pub complete: bool,
    /// As measured, in order.
    pub rounds: Vec<Round>,
    /// What came out, under plain names.
    pub result: Outcome,
}

impl<Round: Serialize, Outcome: Serialize + Default> Record<Round, Outcome> {
    /// Nothing measured yet. To be called before the load starts: it reads the machine's load average.
    pub fn new(name: &'static str) -> Self {
        Self {
            schema: SCHEMA,
            command: command(),
            name,
            machine: Machine::read(),
            complete: false,
            rounds: Vec::new(),
            result: Outcome::default(),
        }
    }
}

impl<Round: Serialize, Outcome: Serialize> Record<Round, Outcome> {
    /// Writes it as JSON to `path`; `-` is standard output.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        if path.as_os_str() == "-" {
            print!("{text}");
            return Ok(());
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes it to `json`, if that is asked for, and shows the table to people, unless standard output is the JSON's.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn leave<T: fmt::Display>(
        &self,
        json: Option<&Path>,
        table: impl FnOnce(&Self) -> T,
    ) -> anyhow::Result<()> {
        if let Some(path) = json {
            self.write(path)?;
        }
        if json != Some(Path::new("-")) {
            println!("{}", table(self));
        }
        Ok(())
    }
}

/// The command line, with the program's name instead of its path.
pub fn command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut line = program;
    for word in words {
        line.push(' ');
        line.push_str(&word);
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(Default, Serialize)]
    struct Outcome {
        ratio: Option<f64>,
    }

    #[test]
    fn a_record_has_what_every_reader_looks_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("record.json");
        let mut record = Record::<f64, Outcome>::new("fib");
        record.rounds.extend([1.0, 2.0]);
        record.write(&path).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["schema"], 1);
        assert_eq!(value["name"], "fib");
        assert_eq!(value["complete"], false);
        assert_eq!(value["rounds"][1], 2.0);
        assert_eq!(value["result"]["ratio"], Value::Null);
        for field in ["cpu", "kernel", "dpdk", "rustc", "build"] {
            let text = value["machine"][field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "machine.{field}");
        }
        assert!(!value["command"].as_str().expect("text").contains('/'));
        let nowhere = dir.path().join("none/record.json");
        let error = record.write(&nowhere).expect_err("no folder").to_string();
        assert!(error.contains("none/record.json"), "{error}");
    }
}
