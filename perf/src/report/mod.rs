//! One page, from the JSON of any measurements.
//!
//! `load`: the files; `figures`: results as rows of a table; `plots`: what is drawn of which measurement; `plot`: the drawing; `page`: HTML.

mod args;
mod figures;
mod load;
mod page;
mod plot;
mod plots;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

pub use args::ReportArgs;

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
    let text = if args.plot_prefixes {
        let Some(plot) = plots::prefixes(&measurements) else {
            bail!(
                "none of the files is of `dmsc-perf forward`: measure with `dmsc-perf forward --prefixes N --json FILE` for several N"
            );
        };
        plot::draw(&plot)?
    } else {
        page::page(&measurements)?
    };
    write(&args.out, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        print!("{text}");
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests;
