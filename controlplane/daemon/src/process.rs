//! The process: its log, its file descriptors, and what systemd is told.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;
use tracing_subscriber::EnvFilter;

pub use sd_notify::NotifyState;

/// Log on stderr: what `DMSC_LOG` names, else `info`.
pub fn log() {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("DMSC_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
}

/// As many descriptors as the system lets this process have: each connection is one. With fewer it works as well, for fewer connections.
pub fn more_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// For systemd; without it nothing happens.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd not notified");
    }
}
