//! A root, and credentials that it issued, in a folder that goes away.
#![allow(dead_code)]

use std::path::PathBuf;

use bytes::Bytes;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope, now_s};
use dmsc_spa::statement::{self, PodStatement};
use dmsc_wire::{Domain, NameBuf};
use prost::Message;

pub struct Pki {
    pub folder: tempfile::TempDir,
    pub root: Root,
}

impl Pki {
    pub fn new() -> Self {
        Self::in_domain("dmsc.test")
    }

    pub fn in_domain(trust_domain: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let root = Root::init(&folder.path().join("root"), trust_domain, 3650).expect("root");
        Self { folder, root }
    }

    pub fn path(&self, identity: &Identity) -> PathBuf {
        self.folder
            .path()
            .join(identity.to_string().replace('/', "-"))
    }

    pub fn issue(&self, identity: &str) -> Credentials {
        self.issue_scope(identity, &[], &[])
    }

    pub fn issue_scope(&self, identity: &str, subtrees: &[&str], domains: &[u32]) -> Credentials {
        let now_s = now_s();
        self.issue_for(identity, subtrees, domains, (now_s - 300, now_s + 86_400))
    }

    pub fn issue_for(
        &self,
        identity: &str,
        subtrees: &[&str],
        domains: &[u32],
        validity: (u64, u64),
    ) -> Credentials {
        let identity: Identity = identity.parse().expect("identity");
        let scope = Scope {
            subtrees: subtrees.iter().map(|text| name(text)).collect(),
            domains: domains.iter().copied().map(Domain).collect(),
        };
        let path = self.path(&identity);
        self.root
            .issue_for(&identity, &scope, validity, false, &path)
            .expect("issue");
        Credentials::load(&path).expect("load")
    }
}

pub fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect(text)
}

/// An authorisation that nothing is wrong with, for `/shop/a` and the name `/shop/b/x` at gateway 1.
pub fn authorisation(authority: &str, now_s: u64) -> statement::Authorisation {
    statement::Authorisation {
        authority: authority.to_owned(),
        serial: 7,
        domain: 1,
        gateway: 1,
        identity: "pod1/a".to_owned(),
        issued_at_s: now_s,
        not_after_s: now_s + 60,
        stale_s: 259_200,
        grants: vec![grant("/shop/a", false, 0), grant("/shop/b/x", true, 3)],
        fragment: 1,
        fragments: 1,
        conditions: 0,
    }
}

pub fn grant(text: &str, exact: bool, maximum_depth: u32) -> statement::Grant {
    statement::Grant {
        name: Bytes::copy_from_slice(name(text).as_bytes()),
        exact,
        maximum_depth,
        rights: 0,
    }
}

pub fn revocation(authority: &str, now_s: u64) -> statement::Revocation {
    statement::Revocation {
        authority: authority.to_owned(),
        serial: 8,
        domain: 1,
        name: Bytes::copy_from_slice(name("/shop/a").as_bytes()),
        gateway: 0,
        identity: String::new(),
        issued_before_s: now_s,
        until_s: now_s + 60,
        reason: "lost".to_owned(),
        conditions: 0,
    }
}

/// Signs any body as an authorisation by these credentials.
pub fn sign_authorisation(by: &Credentials, body: &statement::Authorisation) -> Vec<u8> {
    let statement = Bytes::from(body.encode_to_vec());
    let key = by.signing_key().expect("key");
    statement::SignedAuthorisation {
        signature: statement::sign(&key, statement::AUTHORISATION, &statement),
        statement,
        authority_certificate: by.authority_certificate.clone().unwrap_or_default(),
    }
    .encode_to_vec()
}

/// Signs any body as a revocation by these credentials.
pub fn sign_revocation(by: &Credentials, body: &statement::Revocation) -> Vec<u8> {
    let statement = Bytes::from(body.encode_to_vec());
    let key = by.signing_key().expect("key");
    statement::SignedRevocation {
        signature: statement::sign(&key, statement::REVOCATION, &statement),
        statement,
        authority_certificate: by.authority_certificate.clone().unwrap_or_default(),
    }
    .encode_to_vec()
}

pub fn pod_statement(identity: &str, gateway: u32, now_s: u64) -> PodStatement {
    PodStatement {
        nonce: Bytes::from_static(&[7; 16]),
        gateway,
        identity: identity.to_owned(),
        signed_at_ms: now_s * 1000,
        domain: 0,
        prefixes_sha256: statement::prefixes_sha256([]),
        endpoint_sha256: Bytes::new(),
    }
}

/// As [`pod_statement`], for these names.
pub fn pod_statement_for(
    identity: &str,
    gateway: u32,
    now_s: u64,
    names: &[NameBuf],
) -> PodStatement {
    PodStatement {
        prefixes_sha256: statement::prefixes_sha256(names.iter().map(NameBuf::as_bytes)),
        ..pod_statement(identity, gateway, now_s)
    }
}
