//! The JSON of a measurement, whichever command wrote it.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::record::SCHEMA;

/// One file.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// Its name, without folders.
    pub file: String,
    /// The subcommand.
    pub name: String,
    /// How it was started.
    pub command: String,
    /// All rounds were measured.
    pub complete: bool,
    /// What it ran on, field by field.
    pub machine: Vec<(String, String)>,
    /// As measured.
    pub rounds: Vec<Value>,
    /// What came out.
    pub result: Value,
    /// Everything.
    pub whole: Value,
}

/// Reads a file.
///
/// # Errors
/// When it is no record of a measurement, or of a later version.
pub fn load(path: &Path) -> anyhow::Result<Measurement> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    understand(&file, whole)
}

/// Takes a record apart.
///
/// # Errors
/// As [`load`].
pub fn understand(file: &str, whole: Value) -> anyhow::Result<Measurement> {
    match whole["schema"].as_u64() {
        None => bail!(
            "{file} is no record of a measurement: it has no `schema`; dmsc-perf writes such files with --json"
        ),
        Some(schema) if schema > u64::from(SCHEMA) => bail!(
            "{file} is of schema {schema}, this program reads up to {SCHEMA}: use the dmsc-perf that wrote it"
        ),
        Some(_) => {}
    }
    let command = whole["command"].as_str().unwrap_or_default().to_owned();
    // Older records of `http` have no name.
    let name = match whole["name"].as_str() {
        Some(name) => name.to_owned(),
        None => command.split(' ').nth(1).unwrap_or("?").to_owned(),
    };
    let machine = whole["machine"].as_object();
    let machine = machine
        .into_iter()
        .flatten()
        .map(|(field, value)| (field.clone(), super::figures::plain(value)));
    Ok(Measurement {
        file: file.into(),
        name,
        command,
        complete: whole["complete"].as_bool().unwrap_or(true),
        machine: machine.collect(),
        rounds: whole["rounds"].as_array().cloned().unwrap_or_default(),
        result: whole["result"].clone(),
        whole,
    })
}
