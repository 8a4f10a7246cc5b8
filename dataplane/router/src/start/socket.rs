//! The socket that a vhost port listens on: what a dead process left there goes, and who may open it is settled before anybody can.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, bail};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, chown};

use crate::config::{PortConfig, PortKind};

/// Of a socket that is for this process's user only.
const OWN: Mode = Mode::from_bits_truncate(0o177);
/// Of one that is for a group as well.
const GROUP: u32 = 0o660;

/// Opens a port by `open`, with its socket as configured if it listens on one. Other threads must make no files meanwhile.
///
/// # Errors
/// Somebody else listens there, the group does not exist, or what `open` fails with.
pub(super) fn opened<T>(
    port: &PortConfig,
    open: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let PortKind::Vhost {
        socket,
        client: false,
        group,
    } = &port.kind
    else {
        return open();
    };
    let group = match group {
        None => None,
        Some(name) => match Group::from_name(name).ok().flatten() {
            Some(group) => Some(group.gid),
            None => {
                bail!("socket_group: there is no Unix group {name:?}; make it, or name another")
            }
        },
    };
    dmsc_daemon::make_room(socket).context("socket")?;
    let usual = umask(OWN);
    let port = open();
    umask(usual);
    let port = port?;
    if group.is_some() {
        let rights = std::fs::Permissions::from_mode(GROUP);
        chown(socket, None, group)
            .map_err(std::io::Error::from)
            .and_then(|()| std::fs::set_permissions(socket, rights))
            .with_context(|| format!("socket_group: cannot give {} to it", socket.display()))?;
    }
    Ok(port)
}
