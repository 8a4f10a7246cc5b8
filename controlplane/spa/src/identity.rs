//! Who a certificate is: one SPIFFE id in its subject alternative names (SPIFFE X.509-SVID).

use std::fmt;
use std::str::FromStr;

use dmsc_wire::{NameBuf, NodeId};

use crate::statement::{MAX_AUTHORITY_NAME, MAX_TEXT};

/// A SPIFFE id of this system. Text forms:
/// `spiffe://<trust domain>/node/<id>/<sg|sr>` · `…/pod/<identity>` · `…/spa/<name>` · `…/scsc/<name>` · `…/operator/<view|operate|admin>/<name>`.
/// [`fmt::Display`] and [`FromStr`] are the part behind the trust domain: `node/5/sg`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A router or gateway.
    Node {
        /// Its id.
        id: NodeId,
        /// "sg" or "sr".
        gateway: bool,
    },
    /// A pod, e.g. `pod1/a`.
    Pod(String),
    /// A prefix authority.
    Authority(String),
    /// A replica of a scheduling center.
    Center(String),
    /// A person or program that operates.
    Operator {
        /// What it may.
        role: Role,
        /// Its name.
        name: String,
    },
}

/// What an operator may; each includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    View,
    /// Drain, revoke, apply configurations.
    Operate,
    /// Everything.
    Admin,
}

/// Why a text is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not `spiffe://<trust domain>/<path>`.
    #[error("{0:?} is no SPIFFE id: write spiffe://<trust domain>/<path>")]
    NotSpiffe(String),
    /// The trust domain has other characters than SPIFFE allows.
    #[error(
        "{0:?} is no trust domain: 1 to 255 lower-case letters, digits, dots, dashes and underscores"
    )]
    TrustDomain(String),
    /// No kind of this system.
    #[error(
        "{0:?} is no identity: it is node/<id>/<sg|sr>, pod/<identity>, spa/<name>, scsc/<name> or operator/<view|operate|admin>/<name>"
    )]
    Kind(String),
    /// Not a node id.
    #[error("{0:?} is no node id: a number from 1 to 4294967295, without leading zeros")]
    Node(String),
    /// Not a role.
    #[error("{0:?} is no role: view, operate or admin")]
    Role(String),
    /// A name with other characters than SPIFFE allows in a path.
    #[error(
        "{0:?} cannot be part of an identity: pieces between slashes have letters, digits, dots, dashes and underscores, and are not empty, '.' or '..'"
    )]
    Name(String),
    /// A name that is too long.
    #[error(
        "{0:?} is too long: an authority or scheduling center has at most 64 bytes, others 240, and a pod at most 15 pieces"
    )]
    TooLong(String),
}

impl Identity {
    /// A node; `gateway` or router.
    #[must_use]
    pub const fn node(id: NodeId, gateway: bool) -> Self {
        Self::Node { id, gateway }
    }

    /// A pod, checked.
    ///
    /// # Errors
    /// When `identity` cannot be written as a SPIFFE id or not as a name under `/id`.
    pub fn pod(identity: &str) -> Result<Self, IdentityError> {
        identity.split('/').try_for_each(check_piece)?;
        let pieces = std::iter::once("id").chain(identity.split('/'));
        if identity.len() > MAX_TEXT || NameBuf::from_components(pieces).is_err() {
            return Err(IdentityError::TooLong(identity.to_owned()));
        }
        Ok(Self::Pod(identity.to_owned()))
    }

    /// An authority, checked.
    ///
    /// # Errors
    /// When `name` cannot be written as one piece of a SPIFFE id.
    pub fn authority(name: &str) -> Result<Self, IdentityError> {
        check_piece(name)?;
        if name.len() > MAX_AUTHORITY_NAME {
            return Err(IdentityError::TooLong(name.to_owned()));
        }
        Ok(Self::Authority(name.to_owned()))
    }

    /// A replica of a scheduling center, checked.
    ///
    /// # Errors
    /// When `name` cannot be written as one piece of a SPIFFE id.
    pub fn center(name: &str) -> Result<Self, IdentityError> {
        check_piece(name)?;
        if name.len() > MAX_AUTHORITY_NAME {
            return Err(IdentityError::TooLong(name.to_owned()));
        }
        Ok(Self::Center(name.to_owned()))
    }

    /// An operator, checked.
    ///
    /// # Errors
    /// When `name` cannot be written as one piece of a SPIFFE id.
    pub fn operator(role: Role, name: &str) -> Result<Self, IdentityError> {
        check_piece(name)?;
        if name.len() > 240 {
            return Err(IdentityError::TooLong(name.to_owned()));
        }
        Ok(Self::Operator {
            role,
            name: name.to_owned(),
        })
    }

    /// The SPIFFE id in a trust domain.
    #[must_use]
    pub fn spiffe_id(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/{self}")
    }

    /// Takes a SPIFFE id apart: trust domain and identity.
    ///
    /// # Errors
    /// When it is none, or not one of this system.
    pub fn parse_spiffe_id(uri: &str) -> Result<(&str, Self), IdentityError> {
        let (trust_domain, path) = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| IdentityError::NotSpiffe(uri.to_owned()))?;
        check_trust_domain(trust_domain)?;
        Ok((trust_domain, path.parse()?))
    }

    /// The node's id, if it is one.
    #[must_use]
    pub const fn node_id(&self) -> Option<NodeId> {
        match self {
            Self::Node { id, .. } => Some(*id),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { id, gateway: true } => write!(f, "node/{id}/sg"),
            Self::Node { id, gateway: false } => write!(f, "node/{id}/sr"),
            Self::Pod(identity) => write!(f, "pod/{identity}"),
            Self::Authority(name) => write!(f, "spa/{name}"),
            Self::Center(name) => write!(f, "scsc/{name}"),
            Self::Operator { role, name } => write!(f, "operator/{role}/{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(path: &str) -> Result<Self, IdentityError> {
        let kind = || IdentityError::Kind(path.to_owned());
        let (first, rest) = path.split_once('/').ok_or_else(kind)?;
        match first {
            "pod" => Self::pod(rest),
            "spa" => Self::authority(rest),
            "scsc" => Self::center(rest),
            "operator" => {
                let (role, name) = rest.split_once('/').ok_or_else(kind)?;
                Self::operator(role.parse()?, name)
            }
            "node" => {
                let (id, role) = rest.split_once('/').ok_or_else(kind)?;
                let gateway = match role {
                    "sg" => true,
                    "sr" => false,
                    _ => return Err(kind()),
                };
                // One text for each id: "+5" and "05" are no other ways to write node 5.
                match id.parse::<NodeId>() {
                    Ok(node) if node.is_some() && node.to_string() == id => {
                        Ok(Self::node(node, gateway))
                    }
                    _ => Err(IdentityError::Node(id.to_owned())),
                }
            }
            _ => Err(kind()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        match text {
            "view" => Ok(Self::View),
            "operate" => Ok(Self::Operate),
            "admin" => Ok(Self::Admin),
            _ => Err(IdentityError::Role(text.to_owned())),
        }
    }
}

/// The trust domain of a root: the authority part of a SPIFFE id without a path.
pub(crate) fn check_trust_domain(text: &str) -> Result<(), IdentityError> {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if (1..=255).contains(&text.len()) && text.bytes().all(good) {
        Ok(())
    } else {
        Err(IdentityError::TrustDomain(text.to_owned()))
    }
}

/// One path segment as SPIFFE-ID §2.2 has it.
fn check_piece(text: &str) -> Result<(), IdentityError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.is_empty() || text == "." || text == ".." || !text.bytes().all(good) {
        return Err(IdentityError::Name(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_has_one_text() {
        for text in [
            "node/5/sg",
            "node/4294967295/sr",
            "pod/pod1/a",
            "pod/x",
            "spa/spa1",
            "scsc/scsc1",
            "operator/view/nagios",
            "operator/admin/eva.b",
        ] {
            let identity: Identity = text.parse().expect(text);
            assert_eq!(identity.to_string(), text);
            let uri = identity.spiffe_id("dmsc.test");
            assert_eq!(
                Identity::parse_spiffe_id(&uri),
                Ok(("dmsc.test", identity)),
                "{uri}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "node",
            "node/5",
            "node/5/",
            "node/5/sx",
            "node/0/sg",
            "node/05/sg",
            "node/+5/sg",
            "node/4294967296/sg",
            "node/5/sg/x",
            "pod",
            "pod/",
            "pod//a",
            "pod/a/",
            "pod/../a",
            "pod/a b",
            "pod/ä",
            "pod/a%2Fb",
            "spa/a/b",
            "spa/",
            "scsc/a/b",
            "scsc/",
            "operator/root/x",
            "operator/view",
            "operator/view/a/b",
            "gateway/5",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
        for uri in [
            "http://dmsc.test/node/5/sg",
            "spiffe:///node/5/sg",
            "spiffe://dmsc.test",
            "spiffe://DMSC/node/5/sg",
            "spiffe://a:1/node/5/sg",
            "SPIFFE://dmsc.test/node/5/sg",
            "spiffe://dmsc.test//node/5/sg",
            "spiffe://dmsc.test/node/5/sg?x",
        ] {
            assert!(Identity::parse_spiffe_id(uri).is_err(), "{uri:?}");
        }
        assert!(Identity::pod("a/".repeat(15).trim_end_matches('/')).is_ok());
        assert!(Identity::pod("a/".repeat(16).trim_end_matches('/')).is_err());
        assert!(Identity::authority(&"a".repeat(64)).is_ok());
        assert!(Identity::authority(&"a".repeat(65)).is_err());
        assert!(Role::View < Role::Operate && Role::Operate < Role::Admin);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_is_read_prints_as_itself(text in "(spiffe://)?[a-z.]{0,5}/?(node|pod|spa|scsc|operator)?/[a-z0-9/.+]{0,12}(/s[gr])?") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text.clone());
            }
            if let Ok((domain, identity)) = Identity::parse_spiffe_id(&text) {
                prop_assert_eq!(identity.spiffe_id(domain), text.clone());
            }
        }
    }
}
