//! Who is at the other end of a Unix socket, and in which Unix groups.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::unix::UCred;

/// A process of this machine, as the kernel and the group database know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// "uid 1000 (alice)".
    pub who: String,
    uid: Uid,
    groups: Vec<Gid>,
}

impl Peer {
    /// Whoever opened the socket.
    #[must_use]
    pub fn of(credentials: &UCred) -> Self {
        Self::new(credentials.uid(), credentials.gid())
    }

    /// A user with this primary group, and the groups that the group database gives it.
    #[must_use]
    pub fn new(uid: u32, gid: u32) -> Self {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        // A user without an entry has its primary group only.
        let user = User::from_uid(uid).ok().flatten();
        let name = user.as_ref().map_or("?", |user| user.name.as_str());
        let who = format!("uid {uid} ({name})");
        let mut groups = vec![gid];
        if let Some(name) = user.and_then(|user| CString::new(user.name).ok()) {
            groups.extend(getgrouplist(&name, gid).unwrap_or_default());
        }
        Self { who, uid, groups }
    }

    /// Whether it is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// Whether it runs under this process's own user.
    #[must_use]
    pub fn is_own_user(&self) -> bool {
        self.uid == Uid::effective()
    }

    /// Whether it is in a group; in none that does not exist.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        gid_of(group).is_some_and(|gid| self.groups.contains(&gid))
    }
}

fn gid_of(group: &str) -> Option<Gid> {
    Some(Group::from_name(group).ok().flatten()?.gid)
}

/// Whether there is such a Unix group.
#[must_use]
pub fn group_exists(group: &str) -> bool {
    gid_of(group).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_an_entry_has_its_primary_group() {
        // Group 1 is on every system.
        let first = Group::from_gid(Gid::from_raw(1)).unwrap().unwrap().name;
        let peer = Peer::new(4_000_000, 1);
        assert_eq!(peer.who, "uid 4000000 (?)");
        assert!(peer.is_in(&first) && !peer.is_in("no-such-group") && !peer.is_root());
        assert!(!Peer::new(4_000_000, 4_000_000).is_in(&first));
        assert!(Peer::new(0, 0).is_root());
        assert!(group_exists(&first) && !group_exists("no-such-group"));
    }
}
