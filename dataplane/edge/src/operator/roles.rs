//! Who may look.

use dmsc_proto::{Peer, group_exists};
use tokio::net::unix::UCred;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// Root, the edge's own user, and members of one Unix group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Viewers {
    group: Option<String>,
}

impl Viewers {
    pub const fn new(group: Option<String>) -> Self {
        Self { group }
    }

    /// The group, if there is none of that name: nobody has the role by it.
    pub fn missing(&self) -> Option<&str> {
        self.group.as_deref().filter(|group| !group_exists(group))
    }

    pub fn may_look(&self, peer: &Peer) -> bool {
        let is_member = self.group.as_ref().is_some_and(|group| peer.is_in(group));
        peer.is_root() || peer.is_own_user() || is_member
    }

    /// As [`Viewers::may_look`], of whom the kernel names.
    pub fn knows(&self, credentials: Option<&UCred>) -> bool {
        credentials.is_some_and(|one| self.may_look(&Peer::of(one)))
    }

    /// PERMISSION_DENIED naming the role needed and who asks.
    pub fn permit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let info = request.extensions().get::<UdsConnectInfo>();
        let peer = info.and_then(|info| info.peer_cred.as_ref()).map(Peer::of);
        match peer {
            Some(peer) if self.may_look(&peer) => Ok(()),
            Some(peer) => Err(Status::permission_denied(format!(
                "this needs the role view; {} has none: root has it, and members of view_group in the edge's configuration",
                peer.who
            ))),
            None => Err(Status::permission_denied(
                "this needs the role view, and the kernel does not name the caller",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Gid, Group};

    #[test]
    fn members_and_root_look() {
        // Group 1 is on every system.
        let group = Group::from_gid(Gid::from_raw(1)).unwrap().unwrap().name;
        let viewers = Viewers::new(Some(group));
        assert!(viewers.may_look(&Peer::new(4_000_000, 1)));
        assert!(!viewers.may_look(&Peer::new(4_000_000, 4_000_000)));
        assert!(viewers.may_look(&Peer::new(0, 0)) && viewers.missing().is_none());
        assert!(!Viewers::default().may_look(&Peer::new(4_000_000, 1)));
        let status = viewers.permit(&Request::new(())).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        assert_eq!(
            Viewers::new(Some("no-such".into())).missing(),
            Some("no-such")
        );
    }
}
