//! Makes credentials: one offline root (Ed25519, self-signed), and what it certifies. `dmscctl pki`.
//!
//! The only module that reads the wall clock: what it makes begins now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
};

use crate::credentials::{
    AUTHORITY_FILE, CERTIFICATE_FILE, CredentialsError, KEY_FILE, ROOT_FILE, SigningKey,
    certificate, private_key,
};
use crate::files::write;
use crate::identity::{Identity, IdentityError, check_trust_domain};
use crate::statement::{self, MAX_AUTHORITY_CERTIFICATE, MAX_REVOKED_KEYS, MAX_SCOPE, MAX_TEXT};
use crate::verify::{RootKey, VerifyError};
use crate::x509;

/// DNS names in certificates, next to the SPIFFE id, because TLS libraries check one: of node 5.
pub const NODE_DNS: &str = "node-{id}.dmsc.internal";
/// Of every gateway, so that a pod needs to know only its address.
pub const GATEWAY_DNS: &str = "gateway.dmsc.internal";
/// Of every authority.
pub const AUTHORITY_DNS: &str = "authority.dmsc.internal";
/// Of every replica of a scheduling center.
pub const CENTER_DNS: &str = "scheduling.dmsc.internal";
/// Of every control plane, for the operator's API over TCP.
pub const OPERATOR_DNS: &str = "controlplane.dmsc.internal";

/// The root's private key, in its own folder.
pub const ROOT_KEY_FILE: &str = "root.key.pem";

/// How long before now a certificate begins, s: clocks of other machines may be behind.
pub const BACKDATED_S: u64 = 300;

/// The DNS name of a node.
#[must_use]
pub fn node_dns(id: NodeId) -> String {
    NODE_DNS.replace("{id}", &id.to_string())
}

/// The root with its key. To be kept offline.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    signing_key: SigningKey,
    key: RootKey,
    certificate_pem: String,
    not_after_s: u64,
}

/// What an authority may speak for.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Subtrees; empty = everything.
    pub subtrees: Vec<NameBuf>,
    /// Domains; empty = all.
    pub domains: Vec<Domain>,
}

/// Why credentials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// There is a root already.
    #[error(
        "{}: there is a root already, and everything that it certified would be void without it; choose another folder", path.display()
    )]
    Exists {
        /// The root's certificate.
        path: PathBuf,
    },
    /// A file could not be written or removed.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the root, or a key that is to be kept, is of no use.
    #[error(transparent)]
    Read(#[from] CredentialsError),
    /// The root's files are not those of a root.
    #[error("{}: {source}", path.display())]
    Root {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// The root's two files do not belong together.
    #[error("{}: is not the key of the {} beside it", path.display(), ROOT_FILE)]
    RootKey {
        /// The key.
        path: PathBuf,
    },
    /// A trust domain or identity that cannot be written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Days out of range.
    #[error("days must be between 1 and 36500, not {0}")]
    Days(u32),
    /// The root is over.
    #[error("the root is no longer valid; make a new one and issue everything again")]
    Expired,
    /// More than an authority certificate can hold.
    #[error(
        "too many subtrees or domains for one authority: at most 256 of each, and 16,384 bytes"
    )]
    Scope,
    /// Subtrees or domains for somebody who is no authority.
    #[error("{0} is no authority: only authorities have subtrees and domains")]
    NoAuthority(Identity),
    /// A subtree that belongs to the routers.
    #[error("{0} is reserved for routers: no authority may speak for it")]
    Reserved(NameBuf),
    /// A reason that is too long.
    #[error("the reason has more than 255 bytes")]
    Reason,
    /// No key, or too many.
    #[error("{0} keys; one revocation is of 1 to {MAX_REVOKED_KEYS}")]
    Keys(usize),
    /// The certificate library refused.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl Root {
    /// Makes a root in `folder` (`root.pem`, `root.key.pem` mode 600); refuses to overwrite one.
    ///
    /// # Errors
    /// When there is one, or files cannot be written.
    pub fn init(folder: &Path, trust_domain: &str, days: u32) -> Result<Self, PkiError> {
        check_trust_domain(trust_domain)?;
        let now_s = now_s();
        let not_after_s = now_s + lifetime(days)?;
        let (certificate_path, key_path) = (folder.join(ROOT_FILE), folder.join(ROOT_KEY_FILE));
        for path in [&certificate_path, &key_path] {
            if path.exists() {
                return Err(PkiError::Exists { path: path.clone() });
            }
        }
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = params(
            &format!("DMSC root of {trust_domain}"),
            &format!("spiffe://{trust_domain}"),
            now_s - BACKDATED_S,
            not_after_s,
        )?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        make_folder(folder)?;
        write_file(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        write_file(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
        Self::load(folder)
    }

    /// Reads `root.pem` and `root.key.pem`.
    ///
    /// # Errors
    /// When they are missing or no root.
    pub fn load(folder: &Path) -> Result<Self, PkiError> {
        let (path, key_path) = (folder.join(ROOT_FILE), folder.join(ROOT_KEY_FILE));
        let (certificate_pem, der) = certificate(&path)?;
        let wrong = |source| PkiError::Root {
            path: path.clone(),
            source,
        };
        let key = RootKey::from_certificate(&der).map_err(wrong)?;
        let not_after_s = x509::parse(&der).map_err(wrong)?.not_after_s;
        let key_pem = private_key(&key_path)?;
        let signing_key = SigningKey::from_pem(&key_pem, &key_path)?;
        if signing_key.public_key() != *key.public_key() {
            return Err(PkiError::RootKey { path: key_path });
        }
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&key_pem, &PKCS_ED25519)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&certificate_pem, pair)?,
            signing_key,
            key,
            certificate_pem,
            not_after_s,
        })
    }

    /// The root as everybody else knows it.
    #[must_use]
    pub const fn root_key(&self) -> &RootKey {
        &self.key
    }

    /// Issues credentials into `folder` (made if missing): cert.pem, key.pem, root.pem, and authority.bin for an authority. A key that is there
    /// already is kept (renewal) unless `new_key`. Valid from five minutes ago for `days`, and no longer than the root.
    ///
    /// # Errors
    /// When the scope cannot be meant, or files cannot be written.
    pub fn issue(
        &self,
        identity: &Identity,
        scope: &Scope,
        days: u32,
        new_key: bool,
        folder: &Path,
    ) -> Result<(), PkiError> {
        let now_s = now_s();
        let validity = (now_s - BACKDATED_S, now_s + lifetime(days)?);
        self.issue_for(identity, scope, validity, new_key, folder)
    }

    /// As [`Root::issue`], with the validity given (first and last second, wall clock): for tests of what has expired or is not valid yet.
    ///
    /// # Errors
    /// As [`Root::issue`].
    pub fn issue_for(
        &self,
        identity: &Identity,
        scope: &Scope,
        (not_before_s, not_after_s): (u64, u64),
        new_key: bool,
        folder: &Path,
    ) -> Result<(), PkiError> {
        let not_after_s = not_after_s.min(self.not_after_s);
        if not_before_s >= not_after_s {
            return Err(PkiError::Expired);
        }
        // Everything is checked before the first file is touched; the key may come from a checked text only.
        identity.to_string().parse::<Identity>()?;
        let authority = match identity {
            Identity::Authority(name) => Some((name, subtrees(scope)?)),
            _ if scope.subtrees.is_empty() && scope.domains.is_empty() => None,
            other => return Err(PkiError::NoAuthority(other.clone())),
        };
        make_folder(folder)?;
        let key_path = folder.join(KEY_FILE);
        let key_pem = if new_key || !key_path.exists() {
            let pem = KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem();
            write_file(&key_path, pem.as_bytes(), 0o600)?;
            pem
        } else {
            private_key(&key_path)?
        };
        let public_key = SigningKey::from_pem(&key_pem, &key_path)?.public_key();
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&key_pem, &PKCS_ED25519)?;

        let mut params = params(
            &identity.to_string(),
            &identity.spiffe_id(self.key.trust_domain()),
            not_before_s,
            not_after_s,
        )?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        for name in dns_names(identity) {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.try_into()?));
        }
        let certificate = params.signed_by(&pair, &self.issuer)?;

        let authority_path = folder.join(AUTHORITY_FILE);
        match authority {
            Some((name, subtrees)) => {
                let body = statement::AuthorityCertificate {
                    authority: name.clone(),
                    public_key: Bytes::copy_from_slice(&public_key),
                    subtrees,
                    domains: scope.domains.iter().map(|domain| domain.0).collect(),
                    not_before_s,
                    not_after_s,
                    serial: rand::random(),
                };
                write_file(&authority_path, &self.sign_authority(&body)?, 0o644)?;
            }
            // Of somebody else who had this folder before.
            None if authority_path.exists() => {
                fs::remove_file(&authority_path).map_err(|source| PkiError::Write {
                    path: authority_path,
                    source,
                })?;
            }
            None => {}
        }
        write_file(
            &folder.join(ROOT_FILE),
            self.certificate_pem.as_bytes(),
            0o644,
        )?;
        write_file(
            &folder.join(CERTIFICATE_FILE),
            certificate.pem().as_bytes(),
            0o644,
        )
    }

    /// A signed root revocation (SignedRootRevocation), to be given to any router. It voids what [`Root::issue`] made until and in the second `now_s`;
    /// credentials that are issued from the next second on are good again.
    ///
    /// # Errors
    /// When the reason is too long.
    pub fn revoke_node(&self, node: NodeId, reason: &str, now_s: u64) -> Result<Bytes, PkiError> {
        if !node.is_some() {
            return Err(IdentityError::Node(node.to_string()).into());
        }
        let body = statement::RootRevocation {
            node: node.0,
            ..statement::RootRevocation::default()
        };
        self.revoke(body, reason, now_s)
    }

    /// As [`Root::revoke_node`], of an authority's certificates, and so of all that it authorised with them.
    ///
    /// # Errors
    /// When the name is none, or the reason too long.
    pub fn revoke_authority(
        &self,
        name: &str,
        reason: &str,
        now_s: u64,
    ) -> Result<Bytes, PkiError> {
        Identity::authority(name)?;
        let body = statement::RootRevocation {
            authority: name.to_owned(),
            ..statement::RootRevocation::default()
        };
        self.revoke(body, reason, now_s)
    }

    /// As [`Root::revoke_node`], of Ed25519 public keys: whatever is certified for them is void, whenever that was or will be.
    ///
    /// # Errors
    /// When there is none or more than [`MAX_REVOKED_KEYS`], or the reason is too long.
    pub fn revoke_keys(
        &self,
        public_keys: &[[u8; 32]],
        reason: &str,
        now_s: u64,
    ) -> Result<Bytes, PkiError> {
        if !(1..=MAX_REVOKED_KEYS).contains(&public_keys.len()) {
            return Err(PkiError::Keys(public_keys.len()));
        }
        let body = statement::RootRevocation {
            key_sha256: public_keys
                .iter()
                .map(|key| Bytes::copy_from_slice(&statement::sha256(key)))
                .collect(),
            ..statement::RootRevocation::default()
        };
        self.revoke(body, reason, now_s)
    }

    fn revoke(
        &self,
        subject: statement::RootRevocation,
        reason: &str,
        now_s: u64,
    ) -> Result<Bytes, PkiError> {
        if reason.len() > MAX_TEXT {
            return Err(PkiError::Reason);
        }
        let issued_before_s = match subject.key_sha256.is_empty() {
            // Compared with the beginning of a certificate's validity, which is before it was issued.
            true => (now_s + 1).saturating_sub(BACKDATED_S),
            // Of keys the time is not asked.
            false => 0,
        };
        let body = statement::RootRevocation {
            issued_before_s,
            // No certificate outlives the root.
            until_s: self.not_after_s.max(now_s),
            reason: reason.to_owned(),
            ..subject
        };
        let statement = Bytes::from(body.encode_to_vec());
        let signed = statement::SignedRootRevocation {
            signature: statement::sign(&self.signing_key, statement::ROOT_REVOCATION, &statement),
            statement,
        };
        Ok(signed.encode_to_vec().into())
    }

    fn sign_authority(&self, body: &statement::AuthorityCertificate) -> Result<Vec<u8>, PkiError> {
        let statement = Bytes::from(body.encode_to_vec());
        let signed = statement::SignedAuthorityCertificate {
            signature: statement::sign(
                &self.signing_key,
                statement::AUTHORITY_CERTIFICATE,
                &statement,
            ),
            statement,
        }
        .encode_to_vec();
        if signed.len() > MAX_AUTHORITY_CERTIFICATE {
            return Err(PkiError::Scope);
        }
        Ok(signed)
    }
}

/// The subtrees as the authority's certificate has them.
fn subtrees(scope: &Scope) -> Result<Vec<Bytes>, PkiError> {
    if scope.subtrees.len() > MAX_SCOPE || scope.domains.len() > MAX_SCOPE {
        return Err(PkiError::Scope);
    }
    if let Some(reserved) = scope
        .subtrees
        .iter()
        .find(|subtree| subtree.as_name().is_reserved())
    {
        return Err(PkiError::Reserved(reserved.clone()));
    }
    if scope.subtrees.is_empty() {
        return Ok(vec![Bytes::new()]);
    }
    Ok(scope
        .subtrees
        .iter()
        .map(|subtree| Bytes::copy_from_slice(subtree.as_bytes()))
        .collect())
}

/// Under which names somebody is a server.
fn dns_names(identity: &Identity) -> Vec<String> {
    match identity {
        Identity::Node { id, gateway } => {
            let mut names = vec![node_dns(*id), OPERATOR_DNS.to_owned()];
            if *gateway {
                names.push(GATEWAY_DNS.to_owned());
            }
            names
        }
        Identity::Authority(_) => vec![AUTHORITY_DNS.to_owned(), OPERATOR_DNS.to_owned()],
        Identity::Center(_) => vec![CENTER_DNS.to_owned(), OPERATOR_DNS.to_owned()],
        Identity::Pod(_) | Identity::Operator { .. } => Vec::new(),
    }
}

fn params(
    common_name: &str,
    uri: &str,
    not_before_s: u64,
    not_after_s: u64,
) -> Result<CertificateParams, PkiError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + Duration::from_secs(not_before_s);
    params.not_after = epoch + Duration::from_secs(not_after_s);
    // Positive and of full length in DER, whatever was drawn: RFC 5280 §4.1.2.2.
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    // For people only. X.520 has room for 64 characters; all texts here are ASCII.
    let common_name = &common_name[..common_name.len().min(64)];
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    Ok(params)
}

fn lifetime(days: u32) -> Result<u64, PkiError> {
    if !(1..=36_500).contains(&days) {
        return Err(PkiError::Days(days));
    }
    Ok(u64::from(days) * 86_400)
}

fn make_folder(folder: &Path) -> Result<(), PkiError> {
    fs::create_dir_all(folder).map_err(|source| PkiError::Write {
        path: folder.to_path_buf(),
        source,
    })
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    write(path, bytes, mode).map_err(|source| PkiError::Write {
        path: path.to_path_buf(),
        source,
    })
}

/// Wall clock, s since 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        // A clock before 1970 would issue what nobody believes; it does not stop the process.
        .map_or(BACKDATED_S, |since| since.as_secs().max(BACKDATED_S))
}
