//! Huge pages for the heap: the dataplane's tables are small blocks of it, and so are those under measurement.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// The allocator's own switch, which it reads when the process starts.
const TUNABLES: &str = "GLIBC_TUNABLES";
const HUGE: &str = "glibc.malloc.hugetlb=1";

/// Starts this program once more with huge pages for the heap, unless it was started with such settings.
pub fn begin() -> anyhow::Result<()> {
    if std::env::var_os(TUNABLES).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(TUNABLES, HUGE)
        .exec();
    Err(error).context("cannot start this program once more with huge pages")
}

/// Memory of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resident {
    /// Resident, bytes.
    pub bytes: u64,
    /// Of them in transparent huge pages.
    pub huge: u64,
}

/// What the kernel says of this process now; zeros where it does not tell.
pub fn resident() -> Resident {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kib = |field: &str| -> u64 {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(field)?
                    .trim()
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
    };
    Resident {
        bytes: kib("Rss:") * 1024,
        huge: kib("AnonHugePages:") * 1024,
    }
}
