//! The committed number of instructions per packet that continuous integration compares with.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::record::Machine;

/// How far above the baseline is still right, in parts of it.
const MARGIN: f64 = 0.03;

/// What is committed: instructions per packet by mode, and what counted them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Baseline {
    /// Instructions per packet by mode.
    pub instructions: BTreeMap<String, f64>,
    /// Compiler, flags, DPDK and valgrind: another compiler may need another baseline.
    pub taken_with: String,
}

impl Baseline {
    /// Reads one.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(path: &Path) -> anyhow::Result<Baseline> {
        let what = || {
            format!(
                "--gate {}: is no baseline; `make cycles-baseline` writes one",
                path.display()
            )
        };
        let text = std::fs::read_to_string(path).with_context(what)?;
        serde_json::from_str(&text).with_context(what)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("--baseline {}: cannot be written", path.display()))
    }

    /// Says what differs from it; false if a mode takes too many instructions.
    pub fn judge(&self, found: &BTreeMap<String, f64>, taken_with: &str) -> bool {
        let beyond = |is_beyond: &dyn Fn(f64) -> bool| {
            let modes = self.instructions.iter().filter(|(mode, before)| {
                found
                    .get(*mode)
                    .is_none_or(|now| is_beyond(*now / **before - 1.0))
            });
            modes.map(|(mode, _)| mode.as_str()).collect::<Vec<_>>()
        };
        let (over, under) = (
            beyond(&|change| change > MARGIN),
            beyond(&|change| change < -MARGIN),
        );
        if !over.is_empty() {
            eprintln!(
                "more instructions per packet than the baseline and 3 % in mode {}: find what costs them, or say in the commit why they are \
                 worth it and take the baseline anew (`make cycles-baseline`)",
                over.join(", ")
            );
        }
        if !under.is_empty() {
            eprintln!(
                "fewer instructions per packet than the baseline by more than 3 % in mode {}: take it anew (`make cycles-baseline`), or they may \
                 come back unseen",
                under.join(", ")
            );
        }
        if self.taken_with != taken_with && !(over.is_empty() && under.is_empty()) {
            eprintln!(
                "the baseline was taken with {}; this is {taken_with}",
                self.taken_with
            );
        }
        over.is_empty()
    }
}

/// What a count depends on.
pub fn taken_with(machine: &Machine) -> String {
    let valgrind = Command::new("valgrind").arg("--version").output();
    let valgrind = valgrind.map_or_else(
        |_| "no valgrind".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let Machine {
        rustc, dpdk, build, ..
    } = machine;
    format!("{rustc}, {build}, {dpdk}, {valgrind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_per_cent_are_allowed() {
        let counts = |gateway| BTreeMap::from([("gateway".into(), gateway), ("mac".into(), 50.0)]);
        let baseline = Baseline {
            instructions: counts(100.0),
            taken_with: "rustc".into(),
        };
        assert!(baseline.judge(&counts(102.9), "rustc"));
        assert!(baseline.judge(&counts(80.0), "another"));
        assert!(!baseline.judge(&counts(103.1), "rustc"));
        // A mode that nobody counted is no gain.
        assert!(!baseline.judge(&BTreeMap::new(), "rustc"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("baseline.json");
        let baseline = Baseline {
            instructions: BTreeMap::from([("mac".into(), 50.5)]),
            taken_with: "rustc".into(),
        };
        baseline.write(&path).expect("written");
        let read = Baseline::read(&path).expect("read");
        assert_eq!(read.instructions["mac"], 50.5);
        std::fs::write(&path, "{}").expect("written");
        let error = format!("{:#}", Baseline::read(&path).expect_err("no baseline"));
        assert!(error.contains("make cycles-baseline"), "{error}");
    }
}
