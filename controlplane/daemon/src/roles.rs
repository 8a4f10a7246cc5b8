//! Who calls over a Unix socket, and what they may.

use std::fmt;

use tokio::net::unix::UCred;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use crate::peer::{Peer, group_exists};

/// What a call needs, and a caller has; each includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    View,
    /// Drain, revoke, apply; at a dataplane also program it and see packets.
    Operate,
    /// Everything.
    Admin,
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

/// Unix groups that have a role; root is always admin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// May look.
    pub view: Option<String>,
    /// May operate.
    pub operate: Option<String>,
    /// May do everything.
    pub admin: Option<String>,
    /// Whether the daemon's own user is as good as root.
    pub own_user: bool,
}

impl Groups {
    /// The highest role first.
    fn by_role(&self) -> impl Iterator<Item = (Role, &str)> {
        let all = [
            (Role::Admin, &self.admin),
            (Role::Operate, &self.operate),
            (Role::View, &self.view),
        ];
        all.into_iter()
            .filter_map(|(role, group)| Some((role, group.as_deref()?)))
    }

    /// Whether any role is given by a group.
    #[must_use]
    pub fn are_given(&self) -> bool {
        self.by_role().next().is_some()
    }

    /// Groups that do not exist: nobody has a role by them.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let names = self.by_role().map(|(_, group)| group);
        names.filter(|group| !group_exists(group))
    }

    /// The highest role of a process.
    #[must_use]
    pub fn role(&self, peer: &Peer) -> Option<Role> {
        if peer.is_root() || (self.own_user && peer.is_own_user()) {
            return Some(Role::Admin);
        }
        let mut roles = self.by_role();
        roles.find_map(|(role, group)| peer.is_in(group).then_some(role))
    }
}

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// "uid 1000 (alice)", or what else names them.
    pub who: String,
    /// What they may; `None`: nothing.
    pub role: Option<Role>,
}

impl Caller {
    /// The process at the other end of a Unix socket, as the kernel names it.
    #[must_use]
    pub fn of_peer(peer: Option<&UCred>, groups: &Groups) -> Self {
        match peer.map(Peer::of) {
            Some(peer) => Self {
                role: groups.role(&peer),
                who: peer.who,
            },
            None => Self::nobody("a process that the kernel does not name"),
        }
    }

    /// As [`Caller::of_peer`], of a request; `None`: it came over something else.
    #[must_use]
    pub fn of_socket<T>(request: &Request<T>, groups: &Groups) -> Option<Self> {
        let info = request.extensions().get::<UdsConnectInfo>()?;
        Some(Self::of_peer(info.peer_cred.as_ref(), groups))
    }

    /// Somebody who may nothing.
    #[must_use]
    pub fn nobody(who: &str) -> Self {
        Self {
            who: who.to_owned(),
            role: None,
        }
    }

    /// Whether they may what needs a role; `rule` says who has which, in the words of the daemon's configuration.
    ///
    /// # Errors
    /// PERMISSION_DENIED that names both roles; the rule for those who have none.
    pub fn permit(&self, need: Role, rule: &str) -> Result<(), Status> {
        if self.role >= Some(need) {
            return Ok(());
        }
        let who = &self.who;
        Err(Status::permission_denied(match self.role {
            Some(role) => format!("this needs the role {need}; {who} has the role {role}"),
            None => format!("this needs the role {need}; {who} has none: {rule}"),
        }))
    }

    /// For messages: the role, or "none".
    #[must_use]
    pub fn role_name(&self) -> String {
        self.role
            .map_or_else(|| "none".to_owned(), |role| role.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Gid, Group};

    /// Names of groups that are on every system.
    fn group(gid: u32) -> Option<String> {
        Some(Group::from_gid(Gid::from_raw(gid)).unwrap().unwrap().name)
    }

    #[test]
    fn roles_come_from_groups_and_the_highest_counts() {
        let groups = Groups {
            view: group(1),
            operate: group(2),
            admin: Some("no-such-group".into()),
            own_user: false,
        };
        let role = |gid| groups.role(&Peer::new(4_000_000, gid));
        let roles = [1, 2, 3].map(role);
        assert_eq!(roles, [Some(Role::View), Some(Role::Operate), None]);
        let both = Groups {
            operate: group(1),
            ..groups.clone()
        };
        assert_eq!(both.role(&Peer::new(4_000_000, 1)), Some(Role::Operate));
        assert_eq!(groups.missing().collect::<Vec<_>>(), ["no-such-group"]);
        let root = Peer::new(0, 0);
        assert_eq!(Groups::default().role(&root), Some(Role::Admin));
        assert!(groups.are_given() && !Groups::default().are_given());
    }

    #[test]
    fn the_daemons_own_user_counts_where_it_is_to() {
        let uid = nix::unistd::Uid::effective();
        let own = Peer::new(uid.as_raw(), 4_000_000);
        let groups = |own_user| Groups {
            own_user,
            ..Groups::default()
        };
        assert_eq!(groups(true).role(&own), Some(Role::Admin));
        let role = groups(false).role(&own);
        assert_eq!(role, uid.is_root().then_some(Role::Admin));
    }

    #[test]
    fn a_refusal_names_both_roles_or_the_rule() {
        let caller = |role| Caller {
            who: "uid 7 (eve)".into(),
            role,
        };
        let view = caller(Some(Role::View));
        assert!(view.permit(Role::View, "").is_ok());
        let status = view.permit(Role::Operate, "root has all").unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        let said = "this needs the role operate; uid 7 (eve) has the role view";
        assert_eq!(status.message(), said);
        let status = caller(None).permit(Role::View, "root has all").unwrap_err();
        let said = "this needs the role view; uid 7 (eve) has none: root has all";
        assert_eq!(status.message(), said);
        // Over something else than a Unix socket.
        assert_eq!(
            Caller::of_socket(&Request::new(()), &Groups::default()),
            None
        );
        let unnamed = Caller::of_peer(None, &Groups::default());
        assert_eq!((unnamed.role, unnamed.role_name()), (None, "none".into()));
    }
}
