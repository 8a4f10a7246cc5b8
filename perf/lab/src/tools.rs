//! The programs that a lab needs, and where they come from.

use std::path::{Path, PathBuf};

/// A program and the Debian package that has it.
const TOOLS: &[(&str, &str, &str)] = &[
    ("ip", "iproute2", "makes network namespaces and veth pairs"),
    ("ethtool", "ethtool", "turns checksum offload off on veth"),
    (
        "setpriv",
        "util-linux",
        "ends children when the lab is killed",
    ),
    (
        "chrt",
        "util-linux",
        "lets a flood take only what is left of the cores",
    ),
    ("sysctl", "procps", "sets forwarding in namespaces"),
];
const OUTSIDE_TOOLS: &[(&str, &str, &str)] = &[
    ("dnsmasq", "dnsmasq-base", "answers DNS outside of the mesh"),
    ("python3", "python3", "serves a page outside of the mesh"),
    ("curl", "curl", "fetches that page from a pod"),
];

/// Something that a lab needs is missing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Not on PATH.
    #[error("missing: {list}. Install with: apt-get install {packages}")]
    Missing {
        /// Program and purpose, for people.
        list: String,
        /// Package names, separated by blanks.
        packages: String,
    },
    /// No permission.
    #[error("a lab makes network namespaces and needs root: run it with sudo")]
    NotRoot,
    /// One of our own programs is not beside this one.
    #[error(
        "{name} is not in {dir}: build it with `cargo build --release`, or name its folder with --bin-dir"
    )]
    NotBuilt {
        /// The program.
        name: &'static str,
        /// Where it was looked for.
        dir: PathBuf,
    },
}

/// Whether `program` is on PATH (or in the folders of system programs, which are not on everybody's PATH).
fn find(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// Checks that everything needed is there; `outside`: also what the world outside of the mesh is made of.
///
/// # Errors
/// Names every missing program at once, with its package.
pub fn check(outside: bool) -> Result<(), ToolError> {
    let all = TOOLS.iter().chain(OUTSIDE_TOOLS.iter().filter(|_| outside));
    let missing: Vec<_> = all.filter(|(program, ..)| !find(program)).collect();
    if !missing.is_empty() {
        return Err(ToolError::Missing {
            list: missing
                .iter()
                .map(|(program, _, what)| format!("{program} ({what})"))
                .collect::<Vec<_>>()
                .join(", "),
            packages: missing
                .iter()
                .map(|(_, package, _)| *package)
                .collect::<Vec<_>>()
                .join(" "),
        });
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(ToolError::NotRoot);
    }
    Ok(())
}

/// Our own programs.
#[derive(Debug, Clone)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Programs in `dir`, or beside this executable.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn locate(dir: Option<&Path>) -> Result<Self, ToolError> {
        let beside = || {
            let own = std::env::current_exe().unwrap_or_default();
            own.parent().unwrap_or(Path::new(".")).to_path_buf()
        };
        let dir = dir.map_or_else(beside, Path::to_path_buf);
        let dir = dir.canonicalize().unwrap_or(dir);
        for name in ["dmsc-dataplane", "dmsc-controlplane", "dmsc-pod", "dmscctl"] {
            if !dir.join(name).is_file() {
                return Err(ToolError::NotBuilt { name, dir });
            }
        }
        Ok(Self { dir })
    }

    /// The path of one of them.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}
