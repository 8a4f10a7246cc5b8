//! A daemon's Unix socket: taken once, and its connections, of which those who have a role find a place whatever others do.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use thiserror::Error;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, UdsConnectInfo};
use tracing::warn;

/// After the system refused a connection, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);

/// A socket that cannot be used.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody serves on it; stop them, or use another path.
    #[error("{path}: another process serves there; stop it, or give this one another socket", path = .0.display())]
    Taken(PathBuf),
    /// It cannot be made: the folder, mostly.
    #[error("{path}: {why}", path = .path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
}

/// Listens on `path`; `mode` is that of the file. A socket that a dead process left is replaced; one on which somebody listens is not, also if they are
/// too busy to answer. In a tokio runtime.
///
/// # Errors
/// When somebody listens there, or the file cannot be made.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    make_room(path)?;
    let wrong = |why| SocketError::Socket {
        path: path.to_path_buf(),
        why,
    };
    let listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(wrong)?;
    Ok(listener)
}

/// Removes the socket that a dead process left at `path`, so that this one can listen there.
///
/// # Errors
/// When somebody listens there, or it cannot be removed.
pub fn make_room(path: &Path) -> Result<(), SocketError> {
    let wrong = |why| SocketError::Socket {
        path: path.to_path_buf(),
        why,
    };
    if is_served(path).map_err(wrong)? {
        return Err(SocketError::Taken(path.to_path_buf()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(wrong(error)),
        _ => Ok(()),
    }
}

fn is_served(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(asking.as_raw_fd(), &UnixAddr::new(path)?) {
        // EAGAIN: its queue is full.
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        // A file that is no socket refuses as well.
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Of callers with a role.
    pub members: usize,
    /// Of all others together: enough to be told that they have none.
    pub strangers: usize,
}

/// One connection; counted while it lives.
#[derive(Debug)]
pub struct Local {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

/// Connections of a listener, for a tonic server; one that finds no place is closed. Never ends by itself.
pub fn incoming(
    listener: UnixListener,
    places: Places,
    is_member: impl Fn(Option<&UCred>) -> bool + Send + 'static,
) -> ReceiverStream<io::Result<Local>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let members = Arc::new(Semaphore::new(places.members));
        let strangers = Arc::new(Semaphore::new(places.strangers));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "the Unix socket takes no connection for a moment");
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
            };
            let places = match is_member(stream.peer_cred().ok().as_ref()) {
                true => &members,
                false => &strangers,
            };
            if let Ok(_place) = Arc::clone(places).try_acquire_owned()
                && sender.send(Ok(Local { stream, _place })).await.is_err()
            {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

impl Connected for Local {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

crate::write_through!([] Local, stream);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use tokio::io::AsyncReadExt as _;
    use tokio_stream::StreamExt as _;

    #[tokio::test]
    async fn a_socket_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.sock");
        std::fs::write(&path, "left by a process that is gone").unwrap();
        let listener = bind(&path, 0o600).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path, 0o600), Err(SocketError::Taken(_))));
        drop(listener);
        bind(&path, 0o666).unwrap();
        let wrong = bind(Path::new("/no/such/folder/s"), 0o600).unwrap_err();
        assert!(wrong.to_string().contains("/no/such/folder/s"), "{wrong}");
    }

    #[tokio::test]
    async fn one_who_is_busy_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.sock");
        let busy = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        nix::sys::socket::bind(busy.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        nix::sys::socket::listen(&busy, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(bind(&path, 0o600), Err(SocketError::Taken(_))));
    }

    #[tokio::test]
    async fn strangers_leave_places_for_members_and_give_theirs_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.sock");
        let listener = bind(&path, 0o600).unwrap();
        let member = Arc::new(AtomicBool::new(false));
        let is_member = {
            let member = Arc::clone(&member);
            move |_: Option<&UCred>| member.load(Relaxed)
        };
        let places = Places {
            members: 1,
            strangers: 1,
        };
        let mut incoming = incoming(listener, places, is_member);
        let _first = UnixStream::connect(&path).await.unwrap();
        let stranger = incoming.next().await.unwrap().unwrap();
        let mut second = UnixStream::connect(&path).await.unwrap();
        assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "closed");
        member.store(true, Relaxed);
        let _third = UnixStream::connect(&path).await.unwrap();
        let _member = incoming.next().await.unwrap().unwrap();
        member.store(false, Relaxed);
        drop(stranger);
        let _fourth = UnixStream::connect(&path).await.unwrap();
        incoming.next().await.unwrap().unwrap();
    }
}
