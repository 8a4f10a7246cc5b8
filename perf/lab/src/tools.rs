//! The programs that a lab needs, and where they come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::file::Program;
use crate::plan::Plan;

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

/// What calls the programs behind edges, and what every edge needs.
const EDGE_TOOLS: &[(&str, &str, &str)] = &[
    ("nft", "nftables", "redirects connections of pods"),
    ("curl", "curl", "fetches pages"),
    ("wrk", "wrk", "calls over HTTP/1.1"),
    ("h2load", "nghttp2-client", "calls over HTTP/1.1 and HTTP/2"),
];
/// Modules of Debian's Python: module, package, purpose.
const MODULES: &[(&str, &str, &str)] = &[
    ("grpc", "python3-grpcio", "a gRPC service and its client"),
    (
        "google.protobuf",
        "python3-protobuf",
        "messages of that service",
    ),
    (
        "websockets",
        "python3-websockets",
        "a WebSocket server and its client",
    ),
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
        "{name} is not in {dir}: build it with `make build`, or name its folder with --bin-dir"
    )]
    NotBuilt {
        /// The program.
        name: String,
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
    refuse(
        &all.filter(|(program, ..)| !find(program))
            .collect::<Vec<_>>(),
    )?;
    if !nix::unistd::geteuid().is_root() {
        return Err(ToolError::NotRoot);
    }
    Ok(())
}

/// Says what is missing, if anything.
fn refuse(missing: &[&(&str, &str, &str)]) -> Result<(), ToolError> {
    if missing.is_empty() {
        return Ok(());
    }
    let texts = missing
        .iter()
        .map(|(name, _, what)| format!("{name} ({what})"));
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    Err(ToolError::Missing {
        list: texts.collect::<Vec<_>>().join(", "),
        packages: packages.into_iter().collect::<Vec<_>>().join(" "),
    })
}

/// Checks that the programs are there that run behind the edges of `plan`, and that call them.
///
/// # Errors
/// Names every missing one at once, with its package.
pub fn check_programs(plan: &Plan) -> Result<(), ToolError> {
    let pods = plan.edges.iter().flat_map(|e| &e.pods);
    let kinds: BTreeSet<Program> = pods
        .flat_map(|p| p.serves.iter().filter_map(|s| s.program))
        .collect();
    // A lab without programs of its own is somebody's who brings them.
    let mut tools: Vec<_> = EDGE_TOOLS.iter().take(1).collect();
    if !kinds.is_empty() {
        tools = EDGE_TOOLS.iter().collect();
    }
    let mut modules = false;
    for kind in &kinds {
        match kind {
            Program::Nginx | Program::Nginx2 => {
                tools.push(&("nginx", "nginx-light", "serves pages"));
            }
            Program::Iperf3 => tools.push(&("iperf3", "iperf3", "sends as much as it can")),
            Program::Grpc | Program::Websocket | Program::Banner => modules = true,
        }
    }
    let mut missing: Vec<_> = tools.into_iter().filter(|(p, ..)| !find(p)).collect();
    if modules {
        let has = |module: &str| {
            let find =
                format!("import importlib.util as u, sys; sys.exit(not u.find_spec({module:?}))");
            let mut python = std::process::Command::new(crate::lab::PYTHON);
            let status = python
                .args(["-c", &find])
                .stderr(std::process::Stdio::null());
            status.status().is_ok_and(|s| s.success())
        };
        missing.extend(MODULES.iter().filter(|(module, ..)| !has(module)));
    }
    refuse(&missing)?;
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
                return Err(ToolError::NotBuilt {
                    name: name.into(),
                    dir,
                });
            }
        }
        Ok(Self { dir })
    }

    /// Checks that the programs are there which only a lab with edges needs.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn check_edges(&self, plan: &Plan) -> Result<(), ToolError> {
        let absent = |path: String, name: &str| {
            if Path::new(&path).is_file() {
                return Ok(());
            }
            Err(ToolError::NotBuilt {
                name: name.into(),
                dir: self.dir.clone(),
            })
        };
        if !plan.edges.is_empty() {
            absent(self.path("dmsc-edge"), "dmsc-edge")?;
        }
        for library in &plan.libraries {
            absent(self.example(&library.example), &library.example)?;
        }
        Ok(())
    }

    /// The path of an example of dmsc-http: one that is a program of its own, else one that was built as an example.
    #[must_use]
    pub fn example(&self, name: &str) -> String {
        let own = self.dir.join(name);
        let path = if own.is_file() {
            own
        } else {
            self.dir.join("examples").join(name)
        };
        path.display().to_string()
    }

    /// The path of one of them.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}
