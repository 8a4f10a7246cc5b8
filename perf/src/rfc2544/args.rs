//! Arguments of `dmsc-perf rfc2544`.

use std::path::PathBuf;

use clap::Args;

use crate::transit::{Idle, Mode, Pmd, Size};

/// Highest rates without and with little loss, and latency below them, through a real router
///
/// Starts dmsc-dataplane with one worker and two links, and sends from this process: in by one link, out by the other. NDR is the highest
/// rate at which nothing is lost in any trial, PDR that at which at most 0.5 % is in half of them; both by the rules of RFC 9971 (MLRsearch): the
/// first trial is a warm-up, what could not be sent counts as lost, and a load is good or bad when trials of --sum seconds say so. Latency
/// is measured at 0 (1,000 frames/s), 10, 50 and 90 % of PDR. A shared machine can repeat PDR; NDR is reported beside it. If the
/// generator, not the router, was the limit, the table says so. Needs root and two cores; removes all that it makes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf rfc2544                                     three kinds of links, five sizes: half an hour
  dmsc-perf rfc2544 --quick --pmd memif --frame 128     whether it runs, in seconds
  dmsc-perf rfc2544 --mode name --prefixes 1000000 --frame 256 --json rfc2544.json
  dmsc-perf rfc2544 --pmd vhost --frame 512,imix --sum 21

Frames are counted from the Ethernet header to the end of the payload, without checksum; so are bits.
Without huge pages (sysctl vm.nr_hugepages=400) everything is several times slower; the table says which memory was used.
Exit status: 0 measured, 2 could not be run to its end; what was measured until then is in the JSON.")]
pub struct Rfc2544Args {
    /// Kinds of both links; virtio: the router is the guest, vhost: it is the host
    #[arg(long, value_delimiter = ',', value_name = "PMD,…", default_values_t = [Pmd::Memif, Pmd::Vhost, Pmd::AfPacket])]
    pub pmd: Vec<Pmd>,
    /// Lengths of frames, 128 to 9000 bytes, or imix (7 × 128, 4 × 576, 1 × 1,500)
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…", default_values_t = [Size::Bytes(128), Size::Bytes(512), Size::Bytes(1_500), Size::Bytes(9_000), Size::Imix])]
    pub frame: Vec<Size>,
    /// By what the router forwards
    #[arg(long, default_value_t = Mode::Name)]
    pub mode: Mode,
    /// Prefixes in the router's table; names are drawn from all of them
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub prefixes: u32,
    /// Goal Final Trial Duration, s
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub trial: f64,
    /// Goal Duration Sum, s: trials at one load that decide about it
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub sum: f64,
    /// Goal Width: the search ends when the bounds are this close, relative to the upper one
    #[arg(long, default_value_t = 0.01, value_parser = positive)]
    pub width: f64,
    /// What the router's worker does when nothing comes in
    #[arg(long, value_enum, default_value_t = Idle::Poll)]
    pub idle: Idle,
    /// Short trials and a wide goal: whether all of it runs, not what it reaches
    #[arg(long, conflicts_with_all = ["trial", "sum", "width"])]
    pub quick: bool,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Folder of dmsc-dataplane [default: that of dmsc-perf]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number is wanted".to_owned())?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("a number above 0 is wanted".into())
    }
}
