//! `pki show`: what a file says, if the root lets one believe it.

use std::fs;
use std::path::{Path, PathBuf};

use dmsc_spa::credentials::{AUTHORITY_FILE, CERTIFICATE_FILE, Credentials, ROOT_FILE};
use dmsc_spa::pki::now_s;
use dmsc_spa::verify::{
    Authorisation, AuthorityCertificate, Certificate, Revocation, RevokedSubject, RootKey,
    RootRevocation, VerifyError,
};
use dmsc_wire::{Domain, NameBuf};
use serde::Serialize;

use super::PkiFailure;
use super::cli::Show;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::date;

/// JSON of `pki show`: one per certificate or statement.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum View {
    /// A root.
    Root {
        trust_domain: String,
        public_key: String,
    },
    /// Of a node, pod, authority or operator.
    Certificate {
        spiffe_id: String,
        public_key: String,
        not_before_s: u64,
        not_after_s: u64,
        valid: bool,
    },
    /// What the root lets an authority speak for.
    AuthorityCertificate {
        authority: String,
        public_key: String,
        /// Empty = everything.
        subtrees: Vec<String>,
        /// Empty = all.
        domains: Vec<u32>,
        not_before_s: u64,
        not_after_s: u64,
        valid: bool,
    },
    /// A prefix origin authorisation.
    Authorisation {
        authority: String,
        serial: u64,
        domain: u32,
        gateway: u32,
        identity: String,
        issued_at_s: u64,
        not_after_s: u64,
        stale_s: u32,
        fragment: u32,
        fragments: u32,
        grants: Vec<GrantView>,
        valid: bool,
    },
    /// Ends authorisations.
    Revocation {
        authority: String,
        serial: u64,
        /// `None`: every one that the authority may speak for.
        domain: Option<u32>,
        name: Option<String>,
        gateway: Option<u32>,
        identity: Option<String>,
        issued_before_s: u64,
        until_s: u64,
        reason: String,
        /// Still in force.
        valid: bool,
    },
    /// Voids certificates of a node or an authority, or keys: one of the three.
    RootRevocation {
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// SHA-256 of public keys.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        key_sha256: Vec<String>,
        issued_before_s: u64,
        until_s: u64,
        reason: String,
        /// Still in force.
        valid: bool,
    },
}

/// One grant in JSON.
#[derive(Debug, Serialize)]
pub(super) struct GrantView {
    name: String,
    exact: bool,
    maximum_depth: u8,
}

/// Reads, verifies, prints.
pub(super) fn run(args: &Show, output: &mut Output) -> Result<(), Failure> {
    let now_s = now_s();
    let views = read(&args.path, args.root.as_deref(), now_s)?;
    if output.is_json() {
        output.document(&views)?;
    } else {
        for view in &views {
            for line in view.lines() {
                output.line(&line)?;
            }
        }
    }
    match views.iter().all(View::is_valid) {
        true => Ok(()),
        false => Err(PkiFailure::NotBelieved {
            path: args.path.clone(),
            reason: "not valid now; issue or ask for it again".to_owned(),
        }
        .into()),
    }
}

/// What stands in a folder or file.
pub(super) fn read(path: &Path, root: Option<&Path>, now_s: u64) -> Result<Vec<View>, PkiFailure> {
    if path.is_dir() {
        return folder(path, root, now_s);
    }
    let bytes = read_file(path)?;
    if let Some(der) = der(&bytes) {
        if let Ok(root) = RootKey::from_certificate(&der) {
            return Ok(vec![View::root(&root)]);
        }
        let root = find_root(path, root)?;
        let certificate = root
            .certificate_of_any_time(&der)
            .map_err(|source| not_believed(path, source))?;
        return Ok(vec![View::certificate(&root, &certificate, now_s)]);
    }
    let root = find_root(path, root)?;
    Ok(vec![statement(path, &bytes, &root, now_s)?])
}

fn folder(path: &Path, root: Option<&Path>, now_s: u64) -> Result<Vec<View>, PkiFailure> {
    // A root's own folder has no certificate of somebody else.
    if !path.join(CERTIFICATE_FILE).exists() && path.join(ROOT_FILE).exists() {
        return read(&path.join(ROOT_FILE), None, now_s);
    }
    let credentials = Credentials::load(path)?;
    let own = credentials.root_key()?;
    let root = match root {
        Some(_) => find_root(path, root)?,
        None => own,
    };
    let certificate = root
        .certificate_of_any_time(&credentials.certificate_der)
        .map_err(|source| not_believed(&path.join(CERTIFICATE_FILE), source))?;
    let mut views = vec![View::certificate(&root, &certificate, now_s)];
    if let Some(signed) = &credentials.authority_certificate {
        let authority = root
            .authority_certificate(signed)
            .map_err(|source| not_believed(&path.join(AUTHORITY_FILE), source))?;
        views.push(View::authority(&authority, now_s));
    }
    Ok(views)
}

/// Which statement it is, its context tells: signatures of one kind are no signatures of another.
fn statement(path: &Path, bytes: &[u8], root: &RootKey, now_s: u64) -> Result<View, PkiFailure> {
    let mut reasons = Vec::new();
    let mut tried = |result: Result<View, VerifyError>, what: &str| match result {
        Ok(view) => Some(view),
        Err(error) => {
            reasons.push(format!("\n  as {what}: {error}"));
            None
        }
    };
    let authority = root.authority_certificate(bytes);
    let view = tried(
        root.authorisation(bytes)
            .map(|body| View::authorisation(&body, now_s)),
        "an authorisation",
    )
    .or_else(|| {
        tried(
            root.revocation(bytes)
                .map(|body| View::revocation(body, now_s)),
            "a revocation",
        )
    })
    .or_else(|| {
        tried(
            root.root_revocation(bytes)
                .map(|body| View::root_revocation(body, now_s)),
            "a root revocation",
        )
    })
    .or_else(|| {
        tried(
            authority.map(|body| View::authority(&body, now_s)),
            "an authority's certificate",
        )
    });
    view.ok_or_else(|| PkiFailure::NotBelieved {
        path: path.to_path_buf(),
        reason: format!(
            "nothing that the root of {} or its authorities signed{}",
            root.trust_domain(),
            reasons.concat()
        ),
    })
}

/// `--root`, or the root.pem beside the file.
fn find_root(path: &Path, named: Option<&Path>) -> Result<RootKey, PkiFailure> {
    let beside = path.with_file_name(ROOT_FILE);
    let file = match named {
        Some(folder) if folder.is_dir() => folder.join(ROOT_FILE),
        Some(file) => file.to_path_buf(),
        None if beside.exists() => beside,
        None => return Err(PkiFailure::NoRoot(path.to_path_buf())),
    };
    let der = der(&read_file(&file)?).unwrap_or_default();
    RootKey::from_certificate(&der).map_err(|source| PkiFailure::Root { path: file, source })
}

/// The key of a certificate, or of the one in a folder of credentials: certified by this root, whenever that was.
pub(super) fn public_key(root: &RootKey, path: &Path) -> Result<[u8; 32], PkiFailure> {
    let path = match path.is_dir() {
        true => path.join(CERTIFICATE_FILE),
        false => path.to_path_buf(),
    };
    let bytes = read_file(&path)?;
    let certificate = root.certificate_of_any_time(&der(&bytes).unwrap_or(bytes));
    certificate
        .map(|certificate| certificate.public_key)
        .map_err(|source| not_believed(&path, source))
}

fn read_file(path: &Path) -> Result<Vec<u8>, PkiFailure> {
    fs::read(path).map_err(|source| PkiFailure::Read {
        path: path.to_path_buf(),
        source,
    })
}

fn der(bytes: &[u8]) -> Option<Vec<u8>> {
    dmsc_spa::credentials::certificate_der(std::str::from_utf8(bytes).ok()?)
}

fn not_believed(path: &Path, source: VerifyError) -> PkiFailure {
    PkiFailure::NotBelieved {
        path: PathBuf::from(path),
        reason: source.to_string(),
    }
}

impl View {
    fn root(root: &RootKey) -> Self {
        Self::Root {
            trust_domain: root.trust_domain().to_owned(),
            public_key: hex(root.public_key()),
        }
    }

    fn certificate(root: &RootKey, certificate: &Certificate, now_s: u64) -> Self {
        let (not_before_s, not_after_s) = (certificate.not_before_s, certificate.not_after_s);
        Self::Certificate {
            spiffe_id: certificate.identity.spiffe_id(root.trust_domain()),
            public_key: hex(&certificate.public_key),
            not_before_s,
            not_after_s,
            valid: (not_before_s..=not_after_s).contains(&now_s),
        }
    }

    fn authority(body: &AuthorityCertificate, now_s: u64) -> Self {
        Self::AuthorityCertificate {
            authority: body.authority.clone(),
            public_key: hex(&body.public_key),
            subtrees: body.subtrees.iter().map(ToString::to_string).collect(),
            domains: body.domains.iter().map(|domain| domain.0).collect(),
            not_before_s: body.not_before_s,
            not_after_s: body.not_after_s,
            valid: (body.not_before_s..=body.not_after_s).contains(&now_s),
        }
    }

    fn authorisation(body: &Authorisation, now_s: u64) -> Self {
        Self::Authorisation {
            authority: body.authority.clone(),
            serial: body.serial,
            domain: body.domain.0,
            gateway: body.gateway.0,
            identity: body.identity.clone(),
            issued_at_s: body.issued_at_s,
            not_after_s: body.not_after_s,
            stale_s: body.stale_s,
            fragment: body.fragment,
            fragments: body.fragments,
            grants: body
                .grants
                .iter()
                .map(|grant| GrantView {
                    name: grant.name.to_string(),
                    exact: grant.exact,
                    maximum_depth: grant.maximum_depth,
                })
                .collect(),
            valid: now_s <= body.not_after_s,
        }
    }

    fn revocation(body: Revocation, now_s: u64) -> Self {
        Self::Revocation {
            authority: body.authority,
            serial: body.serial,
            domain: body.domain.map(|domain| domain.0),
            name: body.name.map(|name| name.to_string()),
            gateway: body.gateway.map(|gateway| gateway.0),
            identity: body.identity,
            issued_before_s: body.issued_before_s,
            until_s: body.until_s,
            reason: body.reason,
            valid: now_s < body.until_s,
        }
    }

    fn root_revocation(body: RootRevocation, now_s: u64) -> Self {
        let (mut node, mut authority, mut key_sha256) = (None, None, Vec::new());
        match body.subject {
            RevokedSubject::Node(id) => node = Some(id.0),
            RevokedSubject::Authority(name) => authority = Some(name),
            RevokedSubject::Keys(keys) => key_sha256 = keys.iter().map(|key| hex(key)).collect(),
        }
        Self::RootRevocation {
            node,
            authority,
            key_sha256,
            issued_before_s: body.issued_before_s,
            until_s: body.until_s,
            reason: body.reason,
            valid: now_s < body.until_s,
        }
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Root { .. } => true,
            Self::Certificate { valid, .. }
            | Self::AuthorityCertificate { valid, .. }
            | Self::Authorisation { valid, .. }
            | Self::Revocation { valid, .. }
            | Self::RootRevocation { valid, .. } => *valid,
        }
    }

    /// For people.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Root {
                trust_domain,
                public_key,
            } => vec![
                format!("root of spiffe://{trust_domain}"),
                line("key", public_key),
            ],
            Self::Certificate {
                spiffe_id,
                public_key,
                not_before_s,
                not_after_s,
                valid,
            } => vec![
                format!("certificate of {spiffe_id}"),
                line("valid", validity(*not_before_s, *not_after_s, *valid)),
                line("key", public_key),
            ],
            Self::AuthorityCertificate {
                authority,
                public_key,
                subtrees,
                domains,
                not_before_s,
                not_after_s,
                valid,
            } => vec![
                format!("authority {authority}"),
                line("speaks for", or(subtrees, "everything but /dmsc")),
                line("domains", or(domains, "all")),
                line("valid", validity(*not_before_s, *not_after_s, *valid)),
                line("key", public_key),
            ],
            Self::Authorisation {
                authority,
                serial,
                domain,
                gateway,
                identity,
                issued_at_s,
                not_after_s,
                stale_s,
                fragment,
                fragments,
                grants,
                valid,
            } => {
                let mut lines = vec![
                    format!(
                        "authorisation {serial} by authority {authority}, part {fragment} of {fragments}"
                    ),
                    line(
                        "for",
                        format!("{identity} at gateway {gateway}, domain {domain}"),
                    ),
                    line("admits", validity(*issued_at_s, *not_after_s, *valid)),
                    line("stays", format!("{stale_s} s longer once installed")),
                ];
                lines.extend(grants.iter().map(|grant| line("grants", grant.text())));
                lines
            }
            Self::Revocation {
                authority,
                serial,
                domain,
                name,
                gateway,
                identity,
                issued_before_s,
                until_s,
                reason,
                valid,
            } => vec![
                format!("revocation {serial} by authority {authority}: {reason}"),
                line(
                    "ends",
                    format!(
                        "authorisations issued until {}: {} in {}, gateway {}, identity {}",
                        utc(*issued_before_s),
                        name.as_deref().unwrap_or("all names"),
                        domain.map_or("all its domains".to_owned(), |domain| format!(
                            "domain {domain}"
                        )),
                        gateway.map_or("any".to_owned(), |gateway| gateway.to_string()),
                        identity.as_deref().unwrap_or("any")
                    ),
                ),
                line("in force", force(*until_s, *valid)),
            ],
            Self::RootRevocation {
                node,
                authority,
                key_sha256,
                issued_before_s,
                until_s,
                reason,
                valid,
            } => {
                let whom = match (node, authority, key_sha256.len()) {
                    (Some(node), _, _) => format!("node {node}"),
                    (_, Some(name), _) => format!("authority {name}"),
                    (_, _, 1) => "1 key".to_owned(),
                    (_, _, count) => format!("{count} keys"),
                };
                let mut lines = vec![format!("revocation of {whom} by the root: {reason}")];
                match key_sha256.as_slice() {
                    [] => lines.push(line(
                        "voids",
                        format!(
                            "certificates whose validity began before {}",
                            utc(*issued_before_s)
                        ),
                    )),
                    keys => lines.extend(keys.iter().map(|key| {
                        line(
                            "voids",
                            format!("whatever is certified for key SHA-256 {key}"),
                        )
                    })),
                }
                lines.push(line("in force", force(*until_s, *valid)));
                lines
            }
        }
    }
}

impl GrantView {
    fn text(&self) -> String {
        if self.exact {
            format!("{} exactly", self.name)
        } else {
            format!(
                "{} and below, at most {} components",
                self.name, self.maximum_depth
            )
        }
    }
}

fn line(title: &str, text: impl std::fmt::Display) -> String {
    format!("  {title:<11} {text}")
}

fn validity(from_s: u64, to_s: u64, valid: bool) -> String {
    let (from, to) = (utc(from_s), utc(to_s));
    let now = if valid { "" } else { " (NOT NOW)" };
    format!("{from} to {to}{now}")
}

fn force(until_s: u64, valid: bool) -> String {
    let over = if valid { "" } else { " (OVER)" };
    format!("until {}{over}", utc(until_s))
}

fn or<T: ToString>(list: &[T], nothing: &str) -> String {
    if list.is_empty() {
        return nothing.to_owned();
    }
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// The subtrees of a scope.
pub(super) fn subtrees(subtrees: &[NameBuf]) -> String {
    or(subtrees, "everything but /dmsc")
}

/// The domains of a scope.
pub(super) fn domains(domains: &[Domain]) -> String {
    match domains {
        [] => "all domains".to_owned(),
        [one] => format!("domain {one}"),
        several => format!("domains {}", or(several, "")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970 as date and time, UTC.
pub(super) fn utc(seconds: u64) -> String {
    format!("{} UTC", date(seconds))
}
