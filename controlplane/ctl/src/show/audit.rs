//! `show audit`: who changed what.

use dmsc_proto::v1::{AuditRecord, AuditRequest};
use serde::Serialize;

use crate::cli::operator::AuditArgs;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::{Grid, Output};
use crate::text::{or_dash, or_none, wall_clock};

/// JSON of `show audit`.
#[derive(Debug, Serialize)]
pub struct AuditView {
    records: Vec<RecordView>,
}

#[derive(Debug, Serialize)]
struct RecordView {
    /// Wall clock, ms since 1970.
    at_ms: u64,
    who: String,
    role: String,
    call: String,
    what: String,
    /// "ok" or the refusal.
    outcome: String,
    /// Of the dataplane after the call.
    generation: u64,
}

impl From<AuditRecord> for RecordView {
    fn from(record: AuditRecord) -> Self {
        Self {
            at_ms: record.at_ms,
            who: record.who,
            role: record.role,
            call: record.call,
            what: record.what,
            outcome: record.outcome,
            generation: record.generation,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(
    operator: &mut Operator,
    args: &AuditArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = AuditRequest { limit: args.limit };
    let reply = operator.client.show_audit(request).await;
    let records = operator.answer(reply)?.records;
    let view = AuditView {
        records: records.into_iter().map(RecordView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    let mut grid = Grid::new(&[
        "time (UTC)",
        "who",
        "role",
        "call",
        ">generation",
        "outcome",
        "what",
    ]);
    for record in &view.records {
        grid.row([
            wall_clock(record.at_ms),
            or_dash(&record.who),
            or_dash(&record.role),
            or_dash(&record.call),
            or_none(record.generation),
            record.outcome.replace('\n', "; "),
            or_dash(&record.what.replace('\n', "; ")),
        ]);
    }
    output.table(&grid, "nothing was changed by anybody")?;
    Ok(())
}
