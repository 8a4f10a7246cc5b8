//! What it was measured on.

use serde::Serialize;

/// A machine and a build.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model of the first core.
    pub cpu: String,
    /// Cores that everything ran on.
    pub cores: Vec<usize>,
    /// Kernel.
    pub kernel: String,
    /// DPDK that the gateways are linked with.
    pub dpdk: String,
    /// How this program was built; the others, if by the same command.
    pub build: String,
    /// Load of the last minute before the first round.
    pub load_average: Option<f64>,
    /// Versions of the programs that are compared with.
    pub peers: Vec<String>,
}

impl Machine {
    /// This one.
    pub fn read(cores: &[usize], peers: Vec<String>) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(|| "unknown".into(), |(_, model)| model.trim().into());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu,
            cores: cores.to_vec(),
            kernel: kernel.trim().into(),
            dpdk: dmsc_dpdk::dpdk_version(),
            build: format!(
                "{}, target features: {}",
                if cfg!(debug_assertions) {
                    "debug: not for comparisons"
                } else {
                    "release"
                },
                features()
            ),
            load_average: super::cost::load_average(),
            peers,
        }
    }
}

/// Instruction sets that the compiler was allowed to use, of those that matter here.
fn features() -> String {
    let all = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("aes", cfg!(target_feature = "aes")),
        ("bmi2", cfg!(target_feature = "bmi2")),
        ("avx512f", cfg!(target_feature = "avx512f")),
    ];
    let on: Vec<&str> = all.iter().filter(|f| f.1).map(|f| f.0).collect();
    on.join(" ")
}
