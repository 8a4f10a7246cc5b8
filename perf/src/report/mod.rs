//! One page, from the JSON of any measurements.
//!
//! `load`: the files; `figures`: results as rows of a table; `plots`: what is drawn of which measurement; `rounds`: what of
//! its rounds; `plot`: the drawing; `page`: HTML.

mod args;
mod figures;
mod load;
mod page;
mod plot;
mod plots;
mod rounds;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;

pub use args::ReportArgs;

use crate::record::Record;

/// Writes the page.
///
/// # Errors
/// When a file is no record of a measurement, or the page cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let measurements = args
        .files
        .iter()
        .map(|path| load::load(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let text = match args.plot_prefixes {
        true => svg_of_prefixes(&measurements)?,
        false => page::page(&measurements)?,
    };
    write(&args.out, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the plot of forwarding rates against the number of prefixes of one run of `forward`, as an SVG file.
///
/// # Errors
/// When the file cannot be written.
pub fn plot_prefixes<Round: Serialize, Outcome: Serialize>(
    record: &Record<Round, Outcome>,
    path: &Path,
) -> anyhow::Result<()> {
    let measurement = load::understand(record.name, serde_json::to_value(record)?)?;
    write(path, &svg_of_prefixes(&[measurement])?)
}

fn svg_of_prefixes(measurements: &[load::Measurement]) -> anyhow::Result<String> {
    let Some(plot) = plots::prefixes(measurements) else {
        bail!(
            "none of the files is of `dmsc-perf forward`: measure with `dmsc-perf forward --prefixes 1000,1000000 --json FILE`"
        );
    };
    plot::draw(&plot)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        print!("{text}");
        return Ok(());
    }
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests;
