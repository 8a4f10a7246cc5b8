//! DPDK's log: to stderr, or kept while an operation runs so that its error can quote the driver.

/// Sends DPDK's log through our stream. Once, before EAL starts.
pub(crate) fn open() {
    // SAFETY: the stream it makes lives as long as the process. If it fails, DPDK keeps its own.
    unsafe { dpdk_sys::dmsc_log_open() };
}

/// Keeps the log from now on, until [`Capture::text`] or drop. Operations are serialised by their callers.
pub(crate) struct Capture(());

impl Capture {
    pub(crate) fn start() -> Self {
        // SAFETY: takes a lock and sets a flag.
        unsafe { dpdk_sys::dmsc_log_capture() };
        Self(())
    }

    /// What was logged, in one line, for an error; the log goes to stderr again.
    pub(crate) fn text(self) -> String {
        let kept = take();
        std::mem::forget(self);
        one_line(&kept)
    }
}

impl Drop for Capture {
    /// The operation worked: what it logged goes where it would have gone.
    fn drop(&mut self) {
        for line in take().lines().filter(|line| !is_harmless(line)) {
            eprintln!("{line}");
        }
    }
}

/// What says nothing to an operator: drivers that want to talk to secondary processes, which `--no-shconf` excludes, and
/// the one of two page sizes that was not wanted.
fn is_harmless(line: &str) -> bool {
    const KNOWN: [&str; 3] = [
        "Failed to register mp action callback",
        "req to secondary 95",
        "EAL: No free 1048576 kB hugepages",
    ];
    KNOWN.iter().any(|known| line.contains(known))
}

fn take() -> String {
    let mut kept = vec![0_u8; dpdk_sys::DMSC_LOG_MAX as usize];
    // SAFETY: writes at most this many bytes there and returns how many.
    let n = unsafe { dpdk_sys::dmsc_log_release(kept.as_mut_ptr().cast(), kept.len()) };
    kept.truncate(n);
    String::from_utf8_lossy(&kept).into_owned()
}

fn one_line(log: &str) -> String {
    let lines: Vec<_> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return "DPDK logged nothing".into();
    }
    format!("DPDK says: {}", lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_one_line() {
        assert_eq!(one_line("EAL: a\n\n  b \n"), "DPDK says: EAL: a; b");
        assert_eq!(one_line("\n"), "DPDK logged nothing");
    }
}
