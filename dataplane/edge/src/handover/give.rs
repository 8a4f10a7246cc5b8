//! The side of the process that runs.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::message::{HandoverError, Kind, Message, VERSION, receive, send};
use crate::edge::Edge;
use crate::pod::Shared;

/// Longest wait for what the new process says next: it registers all its pods in between.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tasks that give addresses stop as soon as they are told.
const LEAVING: Duration = Duration::from_secs(2);
/// Names of one message: each has 270 bytes at most, escapes included.
const NAMES: usize = 1_000;

/// Gives the sockets to whoever replaces this process, until the process ends; [`Edge::drain`] is called when the other one serves.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(edge: Arc<Edge>) -> anyhow::Result<()> {
    let Some(operator) = edge.config.operator.clone() else {
        return Ok(());
    };
    let path = super::socket(&operator);
    // Whoever may open it gets the pods' sockets.
    let listener = crate::operator::bind(&path, 0o600)?.into_std()?;
    listener.set_nonblocking(false)?;
    let sockets = [operator, path];
    // Blocks most of the time; ends with the process.
    std::thread::Builder::new()
        .name("handover".to_owned())
        .spawn(move || accept(&listener, &edge, &sockets))?;
    Ok(())
}

fn accept(listener: &UnixListener, edge: &Edge, sockets: &[PathBuf; 2]) {
    for stream in listener.incoming() {
        let given = stream.map_err(HandoverError::from).and_then(|mut stream| {
            know(&stream)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let given = give(&mut stream, edge, sockets);
            if let Err(error) = &given {
                let why = error.to_string();
                let _ = send(&mut stream, &Message::Refuse { why }, None);
            }
            given
        });
        match given {
            Ok(()) => return,
            Err(error) => warn!(%error, "nobody has taken over; this process goes on"),
        }
    }
}

/// The file says who may connect, but not from its first moment on.
fn know(stream: &UnixStream) -> Result<(), HandoverError> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(std::io::Error::from)?;
    match peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
        true => Ok(()),
        false => Err(HandoverError::Unexpected(format!(
            "a connection of uid {}",
            peer.uid.as_raw()
        ))),
    }
}

/// `Ok`: the other process has taken over.
fn give(stream: &mut UnixStream, edge: &Edge, sockets: &[PathBuf; 2]) -> Result<(), HandoverError> {
    match receive(stream)?.0 {
        Message::Ask { version: VERSION } => {}
        Message::Ask { version } => {
            let why = format!("it speaks version {version} of the handover, this one {VERSION}");
            return Err(HandoverError::Unexpected(why));
        }
        other => return Err(HandoverError::Unexpected(format!("{other:?}"))),
    }
    for pod in &edge.pods {
        give_sockets(stream, pod)?;
        give_names(stream, pod)?;
    }
    send(stream, &Message::Given, None)?;
    match receive(stream)?.0 {
        Message::Ready => {}
        other => return Err(HandoverError::Unexpected(format!("{other:?}"))),
    }
    info!("another process takes over");
    edge.drain();
    let tables = edge.pods.iter().filter_map(|pod| pod.names.as_ref());
    for table in tables {
        if !table.gate().wait_until_left(LEAVING) {
            warn!("a pod goes on to give addresses");
        }
    }
    // The other process makes its own, under the same names.
    for path in sockets {
        let _ = std::fs::remove_file(path);
    }
    // From here on there is no way back: whatever the other one understands, this process ends.
    let mut rest = || {
        edge.pods
            .iter()
            .try_for_each(|pod| give_names(stream, pod))?;
        send(stream, &Message::Ended, None)
    };
    if let Err(error) = rest() {
        warn!(%error, "the process that takes over is not told all");
    }
    Ok(())
}

fn give_sockets(stream: &mut UnixStream, pod: &Shared) -> Result<(), HandoverError> {
    let Some(sockets) = pod.listening() else {
        return Ok(());
    };
    let tcp = [
        (Kind::Http, &sockets.http),
        (Kind::Tcp, &sockets.tcp),
        (Kind::DnsTcp, &sockets.dns_tcp),
    ];
    let mut all = Vec::new();
    for (kind, socket) in tcp {
        if let Some(socket) = socket {
            all.push((kind, socket.local_addr()?, socket.as_fd()));
        }
    }
    if let Some(socket) = &sockets.dns_udp {
        all.push((Kind::DnsUdp, socket.local_addr()?, socket.as_fd()));
    }
    for (kind, address, socket) in all {
        let socket: BorrowedFd<'_> = socket;
        let message = Message::Socket {
            pod: pod.config.identity.clone(),
            kind,
            address,
        };
        send(stream, &message, Some(socket))?;
    }
    Ok(())
}

fn give_names(stream: &mut UnixStream, pod: &Shared) -> Result<(), HandoverError> {
    let Some(table) = &pod.names else {
        return Ok(());
    };
    for names in table.dump().chunks(NAMES) {
        let names = names
            .iter()
            .map(|(address, name)| (*address, name.to_string()));
        let message = Message::Names {
            pod: pod.config.identity.clone(),
            names: names.collect(),
        };
        send(stream, &message, None)?;
    }
    Ok(())
}
