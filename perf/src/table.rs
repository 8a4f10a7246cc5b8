//! A command's result as people read it: one row per figure, with its target where there is one.

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::record::Record;
use crate::rig::Common;

/// One figure.
#[derive(Debug)]
pub struct Row {
    what: String,
    value: String,
    target: String,
}

impl Row {
    /// Without a target.
    pub fn new(what: &str, value: String) -> Row {
        Row {
            what: what.into(),
            value,
            target: String::new(),
        }
    }

    /// With one: `figure` shall be at most `limit`.
    pub fn at_most(mut self, figure: f64, limit: f64, target: &str) -> Row {
        let verdict = if figure <= limit { "reached" } else { "missed" };
        self.target = format!("at most {target}: {verdict}");
        self
    }
}

/// Writes the record where the arguments want it, and shows the table unless JSON goes to standard output.
///
/// # Errors
/// When the file cannot be written.
pub fn show<Round: Serialize, Outcome: Serialize>(
    common: &Common,
    record: &Record<Round, Outcome>,
    rows: &[Row],
) -> anyhow::Result<()> {
    if let Some(path) = &common.json {
        record.write(path)?;
        if path.as_os_str() == "-" {
            return Ok(());
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["WHAT", "MEASURED", "TARGET"]);
    for row in rows {
        table.add_row([&row.what, &row.value, &row.target]);
    }
    println!("{table}");
    Ok(())
}
