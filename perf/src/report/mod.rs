//! stub

mod args;

use std::process::ExitCode;

pub use args::ReportArgs;

pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{args:?}")
}
