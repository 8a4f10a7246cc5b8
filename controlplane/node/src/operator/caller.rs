//! Who calls, and what they may: by the Unix groups behind the socket, or by the client certificate.

use dmsc_proto::{Peer, group_exists};
use dmsc_spa::identity::{Identity, Role};
use dmsc_spa::verify::RootKey;
use tokio::net::unix::UCred;
use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

use crate::clock::wall;

/// Unix groups that have a role; root is always admin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleGroups {
    /// May look.
    pub view: Option<String>,
    /// May drain, revoke, apply.
    pub operate: Option<String>,
    /// May do everything.
    pub admin: Option<String>,
}

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// "uid 1000 (alice)", or the SPIFFE id.
    pub who: String,
    /// What they may; `None`: nothing.
    pub role: Option<Role>,
}

impl Caller {
    /// Of a request over a Unix socket or TLS. Anything else has no role.
    #[must_use]
    pub fn of<T>(request: &Request<T>, groups: &RoleGroups, root: Option<&RootKey>) -> Self {
        if let Some(info) = request.extensions().get::<UdsConnectInfo>() {
            return Self::of_peer(info.peer_cred.as_ref(), groups);
        }
        let certificate = request
            .peer_certs()
            .and_then(|chain| chain.first().cloned());
        match (certificate, root) {
            (Some(certificate), Some(root)) => Self::of_certificate(&certificate, root),
            _ => Self::nobody("somebody without a certificate"),
        }
    }

    /// Of the process at the other end of a Unix socket.
    #[must_use]
    pub fn of_peer(peer: Option<&UCred>, groups: &RoleGroups) -> Self {
        match peer {
            Some(peer) => Self::of_user(Peer::of(peer), groups),
            None => Self::nobody("a process that the kernel does not name"),
        }
    }

    /// Whoever sent a signal: the process's own user, or root.
    #[must_use]
    pub fn signal(name: &str) -> Self {
        Self {
            who: name.to_owned(),
            role: Some(Role::Admin),
        }
    }

    fn nobody(who: &str) -> Self {
        Self {
            who: who.to_owned(),
            role: None,
        }
    }

    fn of_user(peer: Peer, groups: &RoleGroups) -> Self {
        let member = |group: &Option<String>| group.as_ref().is_some_and(|group| peer.is_in(group));
        let role = match peer.is_root() {
            true => Some(Role::Admin),
            false => [
                (&groups.admin, Role::Admin),
                (&groups.operate, Role::Operate),
                (&groups.view, Role::View),
            ]
            .into_iter()
            .find_map(|(group, role)| member(group).then_some(role)),
        };
        Self {
            who: peer.who,
            role,
        }
    }

    fn of_certificate(der: &[u8], root: &RootKey) -> Self {
        match root.certificate(der, wall().as_secs()) {
            Ok(certificate) => Self {
                who: certificate.identity.spiffe_id(root.trust_domain()),
                role: match certificate.identity {
                    Identity::Operator { role, .. } => Some(role),
                    _ => None,
                },
            },
            Err(error) => Self::nobody(&format!("a certificate that is not believed ({error})")),
        }
    }

    /// For messages: the role, or "none".
    #[must_use]
    pub fn role_name(&self) -> String {
        self.role
            .map_or_else(|| "none".to_owned(), |role| role.to_string())
    }
}

/// Groups that are configured but not there: nobody has the role by them.
#[must_use]
pub fn missing_groups(groups: &RoleGroups) -> Vec<&str> {
    [&groups.view, &groups.operate, &groups.admin]
        .into_iter()
        .filter_map(|group| group.as_deref())
        .filter(|name| !group_exists(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use nix::unistd::{Gid, Group};

    use super::*;

    #[test]
    fn roles_come_from_groups_and_the_highest_counts() {
        // Groups 0 and 1 (daemon) are on every system.
        let daemon = Group::from_gid(Gid::from_raw(1)).unwrap().unwrap().name;
        let groups = RoleGroups {
            view: Some(daemon.clone()),
            operate: Some(daemon),
            admin: Some("no-such-group".into()),
        };
        let caller = Caller::of_user(Peer::new(4_000_000, 1), &groups);
        assert_eq!(caller.role, Some(Role::Operate));
        assert_eq!(caller.who, "uid 4000000 (?)");
        let stranger = Caller::of_user(Peer::new(4_000_000, 4_000_000), &groups);
        assert_eq!(
            (stranger.role, stranger.role_name().as_str()),
            (None, "none")
        );
        let root = Caller::of_user(Peer::new(0, 0), &RoleGroups::default());
        assert_eq!(root.role, Some(Role::Admin));
        assert_eq!(missing_groups(&groups), ["no-such-group"]);
    }
}
