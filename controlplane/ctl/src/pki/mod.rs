//! `pki`: makes, shows and revokes credentials. Asks no daemon; works on files, so that the root's key can stay on a machine without a network.

pub mod cli;
mod show;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dmsc_spa::credentials::Credentials;
use dmsc_spa::pki::{PkiError, Root, Scope, now_s};
use dmsc_spa::verify::VerifyError;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use cli::{Init, Issue, Pki, Revoke};

/// Why credentials were not made or not shown.
#[derive(Debug, thiserror::Error)]
pub enum PkiFailure {
    /// A folder that must be named was not.
    #[error("say {0}: {1}")]
    Missing(&'static str, &'static str),
    /// The root refused, or its folder is of no use.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// What was issued, or is to be shown, is of no use.
    #[error(transparent)]
    Credentials(#[from] dmsc_spa::credentials::CredentialsError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No root to verify with.
    #[error(
        "{}: nothing can be believed without the root: name its root.pem, or a folder with it, with --root", .0.display()
    )]
    NoRoot(PathBuf),
    /// The root itself is none.
    #[error("{}: is no root: {source}", .path.display())]
    Root {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// The file is nothing that this root or its authorities signed.
    #[error("{}: {reason}", .path.display())]
    NotBelieved {
        /// Which.
        path: PathBuf,
        /// Why, as far as it can be told.
        reason: String,
    },
}

/// JSON of `pki init`, `issue` and `revoke`.
#[derive(Debug, Serialize)]
struct Made<'a> {
    /// Folder or file.
    path: &'a Path,
    /// SPIFFE id; of a root, of its trust domain.
    spiffe_id: String,
    /// Wall clock, s since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after_s: Option<u64>,
}

/// Does what was asked, and says what there is now.
///
/// # Errors
/// When credentials cannot be made, read or believed, or the output cannot be written.
pub fn run(what: &Pki, output: &mut Output) -> Result<(), Failure> {
    match what {
        Pki::Init(args) => init(args, output),
        Pki::Issue(args) => issue(args, output),
        Pki::Show(args) => show::run(args, output),
        Pki::Revoke(args) => revoke(args, output),
    }
}

fn init(args: &Init, output: &mut Output) -> Result<(), Failure> {
    let root = Root::init(&args.folder, &args.trust_domain, args.days).map_err(PkiFailure::from)?;
    let path = args.folder.as_path();
    let spiffe_id = format!("spiffe://{}", root.root_key().trust_domain());
    let sentence = format!(
        "{}: root of {spiffe_id}; keep root.key.pem offline, give root.pem to nobody by hand: 'pki issue' puts it into every folder",
        path.display()
    );
    said(output, path, spiffe_id, None, &sentence)
}

fn issue(args: &Issue, output: &mut Output) -> Result<(), Failure> {
    let folder = |named: &Option<PathBuf>, flag, what| {
        named
            .clone()
            .ok_or(Failure::from(PkiFailure::Missing(flag, what)))
    };
    let root = folder(
        &args.root,
        "--root DIR",
        "the folder of the root, made by 'pki init'",
    )?;
    let out = folder(&args.out, "--out DIR", "the folder for the new credentials")?;
    let root = Root::load(&root).map_err(PkiFailure::from)?;
    let (identity, scope) = args
        .whom
        .identity()
        .map_err(|error| PkiFailure::from(PkiError::from(error)))?;
    // Always with a new key: who renews because the old one leaked must not have to know of a switch.
    root.issue(&identity, &scope, args.days, true, &out)
        .map_err(PkiFailure::from)?;
    // Read as a daemon will read it: what does not load now must not be noticed there.
    let credentials = Credentials::load(&out).map_err(PkiFailure::from)?;
    let certificate = root
        .root_key()
        .certificate(&credentials.certificate_der, now_s())
        .map_err(|source| PkiFailure::NotBelieved {
            path: out.clone(),
            reason: source.to_string(),
        })?;
    let spiffe_id = identity.spiffe_id(root.root_key().trust_domain());
    let sentence = format!(
        "{}: {spiffe_id}{}, valid until {}",
        out.display(),
        speaks_for(&credentials, &scope),
        show::utc(certificate.not_after_s)
    );
    said(
        output,
        &out,
        spiffe_id,
        Some(certificate.not_after_s),
        &sentence,
    )
}

/// ", may speak for /shop in domain 1"; nothing for who is no authority.
fn speaks_for(credentials: &Credentials, scope: &Scope) -> String {
    if credentials.authority_certificate.is_none() {
        return String::new();
    }
    format!(
        ", may speak for {} in {}",
        show::subtrees(&scope.subtrees),
        show::domains(&scope.domains)
    )
}

fn revoke(args: &Revoke, output: &mut Output) -> Result<(), Failure> {
    let root = Root::load(&args.root).map_err(PkiFailure::from)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (reason, now_s) = (args.reason.as_str(), now.as_secs());
    let id = |path: String| format!("spiffe://{}{path}", root.root_key().trust_domain());
    let (signed, spiffe_id, what) = match (args.node, &args.authority) {
        (Some(node), _) => (
            root.revoke_node(node.into(), reason, now_s),
            id(format!("/node/{node}")),
            format!("all certificates of node {node} that were issued until now are void"),
        ),
        (None, Some(name)) => (
            root.revoke_authority(name, reason, now_s),
            id(format!("/spa/{name}")),
            format!(
                "all certificates of authority {name} that were issued until now, and what it signed with them, are void"
            ),
        ),
        (None, None) => {
            let keys = args.certificate.iter();
            let keys = keys
                .map(|path| show::public_key(root.root_key(), path))
                .collect::<Result<Vec<_>, _>>()?;
            let what = match keys.len() {
                1 => "the key is void".to_owned(),
                count => format!("{count} keys are void"),
            };
            let signed = root.revoke_keys(&keys, reason, now_s);
            (signed, id(String::new()), what)
        }
    };
    write_new(&args.out, &signed.map_err(PkiFailure::from)?)?;
    // Certificates of this second are void too; whoever issues new ones after this command must get good ones.
    sleep(Duration::from_secs(now.as_secs() + 1).saturating_sub(now));
    let sentence = format!(
        "{}: {what} wherever this becomes known; one router is enough, it tells the others; authorities are told one by one",
        args.out.display()
    );
    said(output, &args.out, spiffe_id, None, &sentence)
}

/// Never over something else: a wrong --out could name a key.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), PkiFailure> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| PkiFailure::Write {
            path: path.to_path_buf(),
            source,
        })
}

fn said(
    output: &mut Output,
    path: &Path,
    spiffe_id: String,
    not_after_s: Option<u64>,
    sentence: &str,
) -> Result<(), Failure> {
    if output.is_json() {
        output.document(&Made {
            path,
            spiffe_id,
            not_after_s,
        })?;
    } else {
        output.line(sentence)?;
    }
    Ok(())
}
