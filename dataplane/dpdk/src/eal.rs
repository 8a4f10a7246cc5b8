//! EAL, the run-time of DPDK: started once per process, and there until the process ends.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::affinity::Saved;
use crate::errno::Errno;
use crate::hugepages::{self, Huge, Memory};
use crate::lcore::{LcoreError, LcoreGuard};
use crate::log::{self, Capture};

/// Set by the first [`Eal::init`] and never cleared: DPDK cannot start again in one process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// How talkative DPDK is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error = 4,
    #[default]
    Warning = 5,
    Notice = 6,
    Info = 7,
    Debug = 8,
}

/// How EAL starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EalConfig {
    /// Name of the process in DPDK's log.
    pub program: String,
    /// Unique per process on a machine; empty: program and process id.
    pub file_prefix: String,
    /// Memory for pools and rings, MiB. Ordinary pages are touched only when used.
    pub memory_mb: u32,
    /// Hugepages or not.
    pub huge: Huge,
    /// CPU that EAL counts as its main core; `None`: the lowest that this thread may run on. The calling
    /// thread is not left pinned to it.
    pub main_core: Option<usize>,
    /// How talkative DPDK is.
    pub log_level: LogLevel,
    /// Further EAL arguments, as they are.
    pub extra: Vec<String>,
    /// Leave PCI devices alone.
    pub no_pci: bool,
}

impl Default for EalConfig {
    fn default() -> Self {
        Self {
            program: "dmsc".into(),
            file_prefix: String::new(),
            memory_mb: 256,
            huge: Huge::Auto,
            main_core: None,
            log_level: LogLevel::Warning,
            extra: Vec::new(),
            no_pci: true,
        }
    }
}

/// Why EAL did not start.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// [`Eal::init`] was called before in this process, with or without success.
    #[error(
        "EAL was initialised before in this process: DPDK starts once per process; keep the first handle, or start another process"
    )]
    AlreadyInitialised,
    /// Hugepages were asked for.
    #[error("{need_mb} MiB of hugepages are needed and {free_mb} MiB are free: `sysctl vm.nr_hugepages={}` (2 MiB pages), or allow ordinary pages", need_mb.div_ceil(2))]
    NoHugepages {
        /// MiB that the configuration asks for.
        need_mb: u32,
        /// MiB that are free.
        free_mb: u64,
    },
    /// `main_core` is not among the CPUs of this thread.
    #[error("main core {0} is not a CPU that this process may use: see `taskset -p $$`")]
    MainCore(usize),
    /// A text has a NUL byte in it.
    #[error("EAL argument {0:?} has a NUL byte in it")]
    Nul(String),
    /// The CPUs of this thread cannot be read.
    #[error("the CPUs of this thread cannot be read: {0}")]
    Affinity(nix::Error),
    /// DPDK refused.
    #[error("EAL did not start with `{arguments}`: {errno}; {log}")]
    Refused {
        /// What it was given.
        arguments: String,
        /// Its error number.
        errno: Errno,
        /// Its last words.
        log: String,
    },
}

/// The handle of the running EAL. It can be shared by reference or `Arc`, and cannot be cloned.
///
/// EAL runs until the process ends, so pools, ports and mbufs may outlive the handle; dropping it removes what EAL left
/// in the file system.
pub struct Eal {
    pub(crate) inner: Arc<EalInner>,
}

pub(crate) struct EalInner {
    memory: Memory,
    runtime_dir: Option<PathBuf>,
    /// Held while ports come and go: hotplug and log capture are one at a time.
    control: Mutex<()>,
}

impl Eal {
    /// Starts EAL. The calling thread becomes its main lcore and keeps the CPUs that it had.
    ///
    /// # Errors
    /// [`EalError::AlreadyInitialised`] on every call but the first of a process; the others tell what the
    /// operator can change.
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let saved = Saved::save().map_err(EalError::Affinity)?;
        let main_core = config.main_core.unwrap_or_else(|| saved.first());
        if !saved.allows(main_core) {
            return Err(EalError::MainCore(main_core));
        }
        let memory = hugepages::choose(config.huge, hugepages::free_mb(), config.memory_mb)
            .map_err(|missing| EalError::NoHugepages {
                need_mb: config.memory_mb,
                free_mb: missing.free_mb,
            })?;
        let arguments = arguments(config, memory, main_core);
        let mut owned = Vec::with_capacity(arguments.len());
        for argument in &arguments {
            owned.push(
                CString::new(argument.as_str()).map_err(|_| EalError::Nul(argument.clone()))?,
            );
        }
        if INITIALISED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyInitialised);
        }

        log::open();
        let capture = Capture::start();
        // EAL permutes argv and keeps pointers into it for the life of the process.
        let mut argv: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
        let argc = i32::try_from(argv.len()).unwrap_or(i32::MAX);
        argv.push(std::ptr::null_mut());
        // SAFETY: argv has argc strings and a null, all leaked, so valid for ever; the swap above makes
        // this the only call of the process.
        let ret = unsafe { dpdk_sys::rte_eal_init(argc, argv.leak().as_mut_ptr()) };
        if ret < 0 {
            let errno = Errno::last();
            return Err(EalError::Refused {
                arguments: arguments.join(" "),
                errno,
                log: capture.text(),
            });
        }
        drop(capture);
        drop(saved);

        let runtime_dir = runtime_dir();
        // Without shared configuration the directory is empty already; a killed process then leaves nothing.
        remove_runtime_dir(runtime_dir.as_deref());
        Ok(Self {
            inner: Arc::new(EalInner {
                memory,
                runtime_dir,
                control: Mutex::default(),
            }),
        })
    }

    /// Which memory was taken.
    pub fn memory(&self) -> Memory {
        self.inner.memory
    }

    /// Makes the calling thread an lcore, so that it has a cache in every mempool: for a thread that polls.
    ///
    /// # Errors
    /// Where all lcores of DPDK (128) are taken.
    pub fn register_thread(&self) -> Result<LcoreGuard, LcoreError> {
        LcoreGuard::register(&self.inner)
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal")
            .field("memory", &self.inner.memory)
            .finish_non_exhaustive()
    }
}

impl EalInner {
    pub(crate) fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EalInner {
    fn drop(&mut self) {
        // No rte_eal_cleanup: it unmaps all memory while EAL's interrupt thread runs on, which crashed, and it would need
        // proof that no mbuf is left anywhere. The end of the process returns everything.
        remove_runtime_dir(self.runtime_dir.as_deref());
    }
}

fn runtime_dir() -> Option<PathBuf> {
    // SAFETY: returns a pointer to a static buffer, or null.
    let dir = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    if dir.is_null() {
        return None;
    }
    // SAFETY: not null, so a string in a static buffer that EAL does not change once it runs.
    let dir = unsafe { CStr::from_ptr(dir) };
    Some(PathBuf::from(dir.to_string_lossy().into_owned()))
}

fn remove_runtime_dir(dir: Option<&Path>) {
    if let Some(dir) = dir {
        // Not recursive: what EAL did not leave empty is in use, or not ours.
        let _ = std::fs::remove_dir(dir);
    }
}

/// EAL's command line.
fn arguments(config: &EalConfig, memory: Memory, main_core: usize) -> Vec<String> {
    let prefix = if config.file_prefix.is_empty() {
        format!("{}-{}", config.program, std::process::id())
    } else {
        config.file_prefix.clone()
    };
    let mut arguments = vec![
        config.program.clone(),
        // One lcore, on one CPU: EAL would start a thread on every CPU that it may use.
        format!("--lcores=0@{main_core}"),
        format!("--file-prefix={prefix}"),
        format!("--log-level={}", config.log_level as i32),
        "--no-telemetry".into(),
        "--no-shconf".into(),
        "-m".into(),
        config.memory_mb.to_string(),
    ];
    match memory {
        // vhost-user passes one descriptor per segment of memory, and takes eight: one per page would be too many.
        Memory::Hugepages => {
            arguments.extend(["--in-memory".into(), "--single-file-segments".into()]);
        }
        Memory::Ordinary => arguments.push("--no-huge".into()),
    }
    if config.no_pci {
        // Virtual devices need no physical addresses, and a user without privileges cannot read them.
        arguments.extend(["--no-pci".into(), "--iova-mode=va".into()]);
    }
    arguments.extend(config.extra.iter().cloned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_and_ordinary_pages_are_never_combined() {
        let config = EalConfig {
            file_prefix: "p".into(),
            extra: vec!["-d".into(), "x.so".into()],
            ..EalConfig::default()
        };
        let huge = arguments(&config, Memory::Hugepages, 3).join(" ");
        assert_eq!(
            huge,
            "dmsc --lcores=0@3 --file-prefix=p --log-level=5 --no-telemetry --no-shconf -m 256 --in-memory --single-file-segments \
             --no-pci --iova-mode=va -d x.so"
        );
        let ordinary = arguments(
            &EalConfig {
                no_pci: false,
                ..config
            },
            Memory::Ordinary,
            0,
        )
        .join(" ");
        assert!(
            ordinary.contains("--no-huge") && !ordinary.contains("--in-memory"),
            "{ordinary}"
        );
        assert!(!ordinary.contains("--no-pci"), "{ordinary}");
    }

    #[test]
    fn an_empty_prefix_becomes_unique() {
        let line = arguments(&EalConfig::default(), Memory::Ordinary, 0).join(" ");
        assert!(
            line.contains(&format!("--file-prefix=dmsc-{}", std::process::id())),
            "{line}"
        );
    }

    #[test]
    fn what_is_wrong_before_the_start_does_not_use_up_the_start() {
        let error = Eal::init(&EalConfig {
            main_core: Some(1000),
            ..EalConfig::default()
        })
        .err()
        .unwrap();
        assert!(matches!(error, EalError::MainCore(1000)), "{error}");
        assert!(!INITIALISED.load(Ordering::SeqCst));
    }
}
