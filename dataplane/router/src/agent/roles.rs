//! What a caller of the agent may: read, or change and look into packets.

use dmsc_proto::Peer;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// What a call needs, and a caller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads tables, counters, state and configuration.
    View,
    /// Changes them, sends echoes, sees packets: the control plane, and whoever operates this node.
    Operate,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Operate => "operate",
        }
    }
}

/// Unix groups that have a role. With none of them the file mode of the socket decides: whoever opens it may everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// May read.
    pub view: Option<String>,
    /// May everything; root and the dataplane's own user may, too.
    pub operate: Option<String>,
}

impl Groups {
    /// Whether callers are judged one by one.
    pub fn are_given(&self) -> bool {
        self.view.is_some() || self.operate.is_some()
    }

    /// Groups that do not exist: nobody has a role by them.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let given = [&self.view, &self.operate].into_iter().flatten();
        given
            .map(String::as_str)
            .filter(|group| !dmsc_proto::group_exists(group))
    }

    fn role(&self, peer: &Peer) -> Option<Role> {
        let is_in = |group: &Option<String>| group.as_ref().is_some_and(|group| peer.is_in(group));
        if peer.is_root() || peer.is_own_user() || is_in(&self.operate) {
            Some(Role::Operate)
        } else {
            is_in(&self.view).then_some(Role::View)
        }
    }

    /// Whether the caller may what needs a role.
    ///
    /// # Errors
    /// PERMISSION_DENIED naming the role needed and the one had.
    pub fn permit<T>(&self, request: &Request<T>, need: Role) -> Result<(), Status> {
        if !self.are_given() {
            return Ok(());
        }
        let info = request.extensions().get::<UdsConnectInfo>();
        match info.and_then(|info| info.peer_cred) {
            Some(peer) => self.judge(&Peer::of(&peer), need),
            None => Err(Status::permission_denied(
                "the kernel does not name the caller",
            )),
        }
    }

    fn judge(&self, peer: &Peer, need: Role) -> Result<(), Status> {
        let has = self.role(peer);
        if has.is_some_and(|has| has >= need) {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "this needs the role {}; {} has {}: root has all, members of [agent] operate_group and view_group of the dataplane's configuration theirs",
            need.as_str(),
            peer.who,
            has.map_or("none", Role::as_str),
        )))
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
    fn a_viewer_reads_and_an_operator_changes() {
        let groups = Groups {
            view: group(1),
            operate: group(2),
        };
        let judge = |gid, need| groups.judge(&Peer::new(4_000_000, gid), need);
        assert!(judge(1, Role::View).is_ok());
        let status = judge(1, Role::Operate).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        let said = "this needs the role operate; uid 4000000 (?) has view";
        assert!(status.message().starts_with(said), "{status}");
        assert!(judge(2, Role::View).is_ok() && judge(2, Role::Operate).is_ok());
        let status = judge(3, Role::View).unwrap_err();
        let said = "this needs the role view; uid 4000000 (?) has none";
        assert!(status.message().starts_with(said), "{status}");
        assert!(groups.judge(&Peer::new(0, 0), Role::Operate).is_ok());
    }

    #[test]
    fn without_groups_the_file_decides() {
        let nobody = Request::new(());
        assert!(Groups::default().permit(&nobody, Role::Operate).is_ok());
        let groups = Groups {
            view: Some("no-such-group".into()),
            operate: None,
        };
        assert!(groups.permit(&nobody, Role::View).is_err());
        assert_eq!(groups.missing().collect::<Vec<_>>(), ["no-such-group"]);
    }
}
