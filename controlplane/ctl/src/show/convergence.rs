//! `show convergence`: how long changes take, stage by stage.

use dmsc_proto::v1::{ShowRequest, StageTime};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::{Grid, Output};

/// JSON of `show convergence`.
#[derive(Debug, Serialize)]
pub struct ConvergenceView {
    stages: Vec<StageView>,
}

#[derive(Debug, Serialize)]
struct StageView {
    stage: String,
    count: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl From<StageTime> for StageView {
    fn from(stage: StageTime) -> Self {
        Self {
            stage: stage.stage,
            count: stage.count,
            p50_us: stage.p50_us,
            p99_us: stage.p99_us,
            max_us: stage.max_us,
        }
    }
}

/// Asks and prints, in the order of the stages.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &mut Operator, output: &mut Output) -> Result<(), Failure> {
    let reply = operator.client.show_convergence(ShowRequest {}).await;
    let stages = operator.answer(reply)?.stages;
    let view = ConvergenceView {
        stages: stages.into_iter().map(StageView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    let mut grid = Grid::new(&["stage", ">changes", ">p50 ms", ">p99 ms", ">max ms"]);
    let milliseconds = |us: u64| format!("{:.3}", us as f64 / 1e3);
    for stage in view.stages.iter().filter(|stage| stage.count > 0) {
        grid.row([
            stage.stage.replace('-', " to "),
            stage.count.to_string(),
            milliseconds(stage.p50_us),
            milliseconds(stage.p99_us),
            milliseconds(stage.max_us),
        ]);
    }
    output.table(&grid, "nothing has changed yet")?;
    Ok(())
}
