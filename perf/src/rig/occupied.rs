//! A core that has work all the time which nobody measures.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// Keeps the calling thread's core busy with the least priority until it is dropped: what the worker's gaps are then is what the machine makes of
/// two busy cores, whatever the other one does.
pub struct Occupied(Child);

impl Occupied {
    /// Begins; ends by itself after `most`, should this process be killed.
    ///
    /// # Errors
    /// When the loop cannot be started.
    pub fn start(most: Duration) -> anyhow::Result<Occupied> {
        let seconds = most.as_secs().max(1).to_string();
        Command::new("timeout")
            .args([
                &seconds,
                "nice",
                "-n",
                "19",
                "sh",
                "-c",
                "while :; do :; done",
            ])
            .stdin(Stdio::null())
            .spawn()
            .map(Occupied)
            .context("timeout and nice, of coreutils, are needed to keep a core busy")
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        // `timeout` passes SIGTERM on to its command; SIGKILL it could not.
        let process = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait(); // it is gone then
    }
}
