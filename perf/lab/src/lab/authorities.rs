//! Prefix authorities of a lab: started, reloaded, killed and started again.

use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;

use super::Lab;
use crate::configs;
use crate::operator::Operator;
use crate::process::{Process, Share, Spec};
use crate::wait;

impl Lab {
    /// Asks authority `index`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn authority(&self, index: usize) -> anyhow::Result<Operator> {
        Operator::connect(&self.paths().operator(&self.plan.authorities[index].name))
    }

    /// Starts every authority that does not run, and waits until it answers.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start_authorities(&mut self) -> anyhow::Result<()> {
        self.authorities
            .resize_with(self.plan.authorities.len(), || None);
        for index in 0..self.plan.authorities.len() {
            if self.authorities[index].as_mut().is_some_and(Process::alive) {
                continue;
            }
            let name = self.plan.authorities[index].name.clone();
            let seconds = self.plan.authorities[index].authorisation_seconds;
            let _ = std::fs::remove_file(self.paths().operator(&name));
            self.write_policy(index, seconds)?;
            let config = self.paths().daemon(&name);
            std::fs::create_dir_all(self.paths().state(&name))?;
            std::fs::write(
                &config,
                configs::authority_file(&self.plan, index, self.paths())?,
            )?;
            let spec = Spec {
                name: name.clone(),
                namespace: self.plan.authority_namespace(),
                command: vec![
                    self.programs.path("dmsc-controlplane"),
                    "spa".into(),
                    "--config".into(),
                    config.display().to_string(),
                ],
                share: Share::Plain,
                survives: self.keep,
            };
            self.authorities[index] = Some(Process::start(spec, &self.logs, false)?);
        }
        for index in 0..self.plan.authorities.len() {
            self.wait_for_authority(index)?;
        }
        Ok(())
    }

    fn wait_for_authority(&mut self, index: usize) -> anyhow::Result<()> {
        let name = self.plan.authorities[index].name.clone();
        let socket = self.paths().operator(&name);
        let process = self.authorities[index]
            .as_mut()
            .context("the authority was not started")?;
        let mut ended = None;
        wait::until(
            &format!("authority {name} to answer"),
            Duration::from_secs(15),
            || {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                Operator::connect(&socket)?.about()?;
                Ok(Some(()))
            },
        )?;
        ended.map_or(Ok(()), Err)
    }

    fn write_policy(&self, index: usize, seconds: u32) -> anyhow::Result<()> {
        let path = self.paths().policy(&self.plan.authorities[index].name);
        let text = configs::policy_file(&self.plan, index, &self.changes, seconds)?;
        std::fs::write(path, text)?;
        Ok(())
    }

    /// Lets what the authorities sign from now on live `seconds`; nothing is waited for.
    ///
    /// # Errors
    /// When the policies cannot be written.
    pub fn set_authorisation_seconds(&mut self, seconds: u32) -> anyhow::Result<()> {
        for index in 0..self.plan.authorities.len() {
            self.write_policy(index, seconds)?;
            if let Some(process) = &mut self.authorities[index] {
                process.signal(Signal::SIGHUP);
            }
        }
        Ok(())
    }

    /// As [`Lab::set_authorisation_seconds`], with what the lab file says.
    ///
    /// # Errors
    /// When the policies cannot be written.
    pub fn reset_authorisation_seconds(&mut self) -> anyhow::Result<()> {
        for index in 0..self.plan.authorities.len() {
            self.write_policy(index, self.plan.authorities[index].authorisation_seconds)?;
            if let Some(process) = &mut self.authorities[index] {
                process.signal(Signal::SIGHUP);
            }
        }
        Ok(())
    }

    /// `kill -9` of every authority.
    pub fn kill_authorities(&mut self) {
        for mut process in self.authorities.iter_mut().filter_map(Option::take) {
            process.kill_hard();
        }
    }
}
