//! Arguments of `dmsc-perf report`.

use std::path::PathBuf;

use clap::Args;

/// One page with plots and a table, from the JSON of any measurements
///
/// Writes a single HTML file that needs no network: for every JSON file what was measured, with which command, on which machine, its
/// figures, and plots of its rounds; over all files, forwarding rates against the number of prefixes if several files of
/// `forward` are given.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf report forward-*.json --out report.html
  dmsc-perf report fib.json rfc2544.json http.json --out - > report.html

Exit status: 0 written, 2 not: a file that is no record of a measurement is named.")]
pub struct ReportArgs {
    /// JSON files that commands of dmsc-perf wrote with --json
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The page; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Only the plot of forwarding rates against the number of prefixes, as an SVG file
    #[arg(long)]
    pub plot_prefixes: bool,
}
