//! What a measurement ran on.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// How DPDK is linked into this program.
pub const LINKING: &str = if cfg!(feature = "static") {
    "static"
} else {
    "shared"
};

/// A machine and a build.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model of the first core.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// Kernel.
    pub kernel: String,
    /// DPDK that the programs are linked with.
    pub dpdk: String,
    /// Whether this program has DPDK in it, or shares the system's.
    pub linking: &'static str,
    /// Compiler of this program.
    pub rustc: String,
    /// How this program was built; the others, if by the same command.
    pub build: String,
    /// Load of the last minute before the first round.
    pub load_average: Option<f64>,
}

impl Machine {
    /// This one.
    pub fn read() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(|| "unknown".into(), |(_, model)| model.trim().into());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu,
            cores: cores(),
            kernel: kernel.trim().into(),
            dpdk: dmsc_dpdk::dpdk_version(),
            linking: LINKING,
            rustc: env!("DMSC_RUSTC").into(),
            build: build(),
            load_average: load_average(),
        }
    }
}

/// Load average of the last minute.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .collect()
}

/// Profile, optimisation level, the compiler's flags, and the instruction sets that it was allowed to use, of those that matter here.
fn build() -> String {
    let profile = if cfg!(debug_assertions) {
        "debug: not for comparisons"
    } else {
        "release"
    };
    let sets = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("aes", cfg!(target_feature = "aes")),
        ("bmi2", cfg!(target_feature = "bmi2")),
        ("avx512f", cfg!(target_feature = "avx512f")),
    ];
    let on: Vec<&str> = sets.iter().filter(|set| set.1).map(|set| set.0).collect();
    let mut text = format!(
        "{profile}, opt-level {}, target features: {}",
        env!("DMSC_OPT_LEVEL"),
        on.join(" ")
    );
    let flags = env!("DMSC_RUSTFLAGS");
    if !flags.is_empty() {
        text.push_str(", flags: ");
        text.push_str(flags);
    }
    text
}
