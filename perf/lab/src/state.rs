//! What a lab leaves on the machine while it runs, written down before it is made, so that it can be removed after a crash.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::net;

/// Where labs keep their configurations, sockets and this file.
pub const ROOT: &str = "/run/dmsc-lab";

/// What is to be removed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// The lab file.
    pub file: PathBuf,
    /// Folder of our programs.
    pub programs: PathBuf,
    /// Log folder.
    pub logs: PathBuf,
    /// Network namespaces; everything that runs in them is the lab's.
    pub namespaces: Vec<String>,
    /// `--file-prefix` of the dataplanes.
    pub eal_prefixes: Vec<String>,
}

/// The folder of one lab, locked while a process works on it.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

/// Opens and locks `path`; none if the file was removed by its last holder in between.
fn lock(path: &Path, name: &str) -> anyhow::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if lock.try_lock().is_err() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        let holder = holder.trim();
        bail!(
            "lab {name} is in use by process {holder}: wait for it, or end it with `kill {holder}`; it cleans up"
        );
    }
    let same = std::fs::metadata(path)
        .is_ok_and(|now| lock.metadata().is_ok_and(|held| held.ino() == now.ino()));
    if !same {
        return Ok(None);
    }
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())?;
    Ok(Some(lock))
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Removed while still locked: whoever opened it in the meantime finds that it is not the file of that name any more.
        let _ = std::fs::remove_file(&self.lock_path);
        let _ = std::fs::remove_dir(ROOT);
    }
}

impl StateDir {
    /// Makes and locks the folder of lab `name`.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be made.
    pub fn lock(name: &str) -> anyhow::Result<Self> {
        let dir = Path::new(ROOT).join(name);
        // Beside the folder, not in it: the folder goes with the lab, the lock after it.
        let lock_path = Path::new(ROOT).join(format!("{name}.lock"));
        loop {
            std::fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            if let Some(lock) = lock(&lock_path, name)? {
                return Ok(Self {
                    dir,
                    lock_path,
                    _lock: lock,
                });
            }
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What an earlier run wrote down, if it is still there.
    #[must_use]
    pub fn read(&self) -> Option<State> {
        let text = std::fs::read_to_string(self.dir.join("state.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes down what is about to be made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, state: &State) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        std::fs::write(
            self.dir.join("state.json"),
            serde_json::to_string_pretty(state)?,
        )?;
        Ok(())
    }

    /// Removes everything that `state` names, and the folder. Returns what could not be removed.
    #[must_use]
    pub fn clean(&self, state: &State) -> Vec<String> {
        let present = net::namespaces("").unwrap_or_default();
        let ours: Vec<&String> = state
            .namespaces
            .iter()
            .filter(|n| present.contains(n))
            .collect();
        kill_in(&ours);
        let mut problems = Vec::new();
        for namespace in ours {
            // `ip netns exec` binds the files of this folder; it is ours because the namespace is.
            let _ = std::fs::remove_dir_all(format!("/etc/netns/{namespace}"));
            if let Err(error) = net::run("ip", &["netns", "del", namespace]) {
                problems.push(format!("{error:#}"));
            }
        }
        // Only if no other lab put something there.
        let _ = std::fs::remove_dir("/etc/netns");
        // A dataplane that takes over has a prefix of its own, which begins with that of the router.
        for entry in std::fs::read_dir("/var/run/dpdk")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if state.eal_prefixes.iter().any(|p| name.starts_with(p)) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            problems.push(format!("cannot remove {}: {error}", self.dir.display()));
        }
        problems
    }
}

/// Ends every process in these namespaces: they belong to the lab, so what runs there does too.
fn kill_in(namespaces: &[&String]) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let end = std::time::Instant::now() + Duration::from_secs(3);
    loop {
        let mut any = false;
        for namespace in namespaces {
            for id in net::processes_in(namespace) {
                // A program that starts in a namespace shows up there before and after exec; never end ourselves.
                if id as u32 != std::process::id() {
                    any = true;
                    let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
                }
            }
        }
        if !any || std::time::Instant::now() > end {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
