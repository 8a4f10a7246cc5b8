//! Scheduling centers of a lab: started, killed and started again.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

use super::Lab;
use crate::process::{Process, Share, Spec};
use crate::{configs, net, wait};

impl Lab {
    /// Starts every scheduling center that does not run, waits until it listens, and tells the gateways of it if they were not told.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start_centers(&mut self) -> anyhow::Result<()> {
        self.centers.resize_with(self.plan.centers.len(), || None);
        for index in 0..self.plan.centers.len() {
            if self.centers[index].as_mut().is_some_and(Process::alive) {
                continue;
            }
            let name = self.plan.centers[index].name.clone();
            let config = self.paths().daemon(&name);
            // Of one that was killed.
            let _ = std::fs::remove_file(self.paths().operator(&name));
            std::fs::create_dir_all(self.paths().state(&name))?;
            let text = configs::center_file(&self.plan, index, self.paths())?;
            std::fs::write(&config, text)?;
            let spec = Spec {
                name,
                namespace: self.plan.authority_namespace(),
                command: vec![
                    self.programs.path("dmsc-controlplane"),
                    "scsc".into(),
                    "--config".into(),
                    config.display().to_string(),
                ],
                share: Share::Plain,
                survives: self.keep,
            };
            self.centers[index] = Some(Process::start(spec, &self.logs, false)?);
        }
        for index in 0..self.plan.centers.len() {
            self.wait_for_center(index)?;
        }
        if std::mem::take(&mut self.plan.centers_held) {
            self.reconfigure(&self.changes().clone())?;
        }
        Ok(())
    }

    fn wait_for_center(&mut self, index: usize) -> anyhow::Result<()> {
        let center = self.plan.centers[index].clone();
        let namespace = self.plan.authority_namespace();
        let process = self.centers[index]
            .as_mut()
            .context("the center was not started")?;
        let mut ended = None;
        wait::until(
            &format!("center {} to listen", center.name),
            Duration::from_secs(15),
            || {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                let port = center.port;
                net::inside(&namespace, move || {
                    Ok(TcpStream::connect(("127.0.0.1", port))?)
                })?;
                Ok(Some(()))
            },
        )?;
        ended.map_or(Ok(()), Err)
    }

    /// `kill -9` of every center.
    pub fn kill_centers(&mut self) {
        for mut process in self.centers.iter_mut().filter_map(Option::take) {
            process.kill_hard();
        }
    }
}
