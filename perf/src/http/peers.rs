//! What a column needs on this machine, and where it comes from.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::column::Column;
use super::envoy;
use super::rig::Programs;

/// Looks for what `column` needs; `programs` gets it, `peers` its version.
pub fn find(
    column: Column,
    tools: &Path,
    programs: &mut Programs,
    peers: &mut Vec<String>,
) -> anyhow::Result<()> {
    match column {
        Column::Direct => {}
        Column::Envoy => {
            let program: PathBuf = envoy::locate(tools)?;
            peers.extend(version(&program.display().to_string(), "--version"));
            programs.envoy = Some(program);
        }
        Column::HaproxyHttp | Column::HaproxyTcp => {
            let version =
                version("haproxy", "-v").context("there is no haproxy: apt-get install haproxy")?;
            if !peers.contains(&version) {
                peers.push(version);
            }
        }
        Column::Edge => {
            dmsc_lab::tools::Programs::locate(Some(&programs.ours))?;
            if !programs.ours.join("dmsc-edge").is_file() {
                bail!(
                    "dmsc-edge is not in {}: build it, or name its folder with --bin-dir",
                    programs.ours.display()
                );
            }
        }
        Column::Library => {
            dmsc_lab::tools::Programs::locate(Some(&programs.ours))?;
        }
    }
    Ok(())
}

/// The first line that says something.
pub fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_said() {
        assert_eq!(version("no-such-program-anywhere", "-v"), None);
        let mut peers = Vec::new();
        let error = find(
            Column::Edge,
            Path::new("/nowhere"),
            &mut Programs::default(),
            &mut peers,
        );
        assert!(error.is_err());
    }
}
