//! The program `nft`: scripts on its standard input, in the calling thread's network namespace.

use std::io::Write as _;
use std::process::{Command, Stdio};

use thiserror::Error;

/// Rules that could not be changed or read.
#[derive(Debug, Error)]
pub enum NftError {
    /// The program is not here.
    #[error(
        "redirect needs the program nft, which cannot be run ({0}); install the package nftables, or leave `tcp` and [[pod.redirect]] out"
    )]
    Missing(std::io::Error),
    /// The right is missing.
    #[error(
        "redirect needs CAP_NET_ADMIN in the pod's network namespace, which this process has not; run it with that capability (conf/systemd/dmsc-edge.service names it), or leave `tcp` and [[pod.redirect]] out"
    )]
    NotPermitted,
    /// It says no.
    #[error("nft does not take the redirect rules: {0}")]
    Refused(String),
}

/// Runs a script, all of it or nothing. Blocks for some milliseconds.
pub(super) fn run(script: &str) -> Result<(), NftError> {
    call(&["-f", "-"], script).map(|_| ())
}

/// Names of all tables of the family inet.
pub(super) fn tables() -> Result<Vec<String>, NftError> {
    let listed = call(&["list", "tables", "inet"], "")?;
    let names = listed
        .lines()
        .filter_map(|line| line.strip_prefix("table inet "));
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

fn call(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .env("PATH", path())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NftError::Missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(NftError::Missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.contains("Operation not permitted") {
        true => Err(NftError::NotPermitted),
        false => Err(NftError::Refused(said.trim().replace('\n', "; "))),
    }
}

/// Tools of the administrator are not on every user's.
fn path() -> String {
    let given = std::env::var("PATH").unwrap_or_default();
    format!("{given}:/usr/local/sbin:/usr/sbin:/sbin")
}
