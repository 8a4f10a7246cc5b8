//! What the two processes say to each other, and how sockets go with it.

use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Of this conversation.
pub(super) const VERSION: u32 = 1;
/// Longest message.
const LONGEST: u32 = 1 << 20;

/// Nothing was taken over, or given.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// No `operator` in the configuration.
    #[error("--takeover needs `operator` in the configuration: the running edge is found by it")]
    NoOperator,
    /// Nobody is there.
    #[error("no edge answers on {path} ({why}); without a running one, start without --takeover", path = .path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The other process says no.
    #[error("the running edge refuses: {0}")]
    Refused(String),
    /// The other process says something else.
    #[error("the other process says what is not understood here: {0}; use neighbouring releases")]
    Unexpected(String),
    /// The other process is gone, or too slow.
    #[error("the other process is gone, or does not answer: {0}")]
    Gone(#[from] std::io::Error),
}

/// Which of a pod's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Http,
    Tcp,
    DnsUdp,
    DnsTcp,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Message {
    /// New: give me what you have.
    Ask { version: u32 },
    /// Old: a socket, which comes with this.
    Socket {
        pod: String,
        kind: Kind,
        address: SocketAddr,
    },
    /// Old: names that have addresses, some at a time; the least recently used first.
    Names {
        pod: String,
        names: Vec<(Ipv4Addr, String)>,
    },
    /// Old: that is all of it.
    Given,
    /// New: my pods are registered.
    Ready,
    /// Old: nobody gives addresses here any more, and you have what was given since.
    Ended,
    /// Either: no.
    Refuse { why: String },
}

/// Sends a message, with a socket if it carries one.
pub(super) fn send(
    stream: &mut UnixStream,
    message: &Message,
    socket: Option<BorrowedFd<'_>>,
) -> Result<(), HandoverError> {
    let body = serde_json::to_vec(message).map_err(std::io::Error::other)?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if length > LONGEST {
        return Err(HandoverError::Unexpected(format!(
            "a message of {length} bytes"
        )));
    }
    let head = length.to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets;
    if let Some(socket) = socket {
        sockets = [socket];
        control.push(SendAncillaryMessage::ScmRights(&sockets));
    }
    let sent = sendmsg(
        stream.as_fd(),
        &[IoSlice::new(&head)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map_err(std::io::Error::from)?;
    // The socket went with the first byte.
    stream.write_all(head.get(sent..).unwrap_or_default())?;
    stream.write_all(&body)?;
    Ok(())
}

/// Receives a message; within the stream's time.
pub(super) fn receive(
    stream: &mut UnixStream,
) -> Result<(Message, Option<OwnedFd>), HandoverError> {
    let mut head = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut head)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(std::io::Error::from)?;
    if received.bytes == 0 {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = rights.flatten().next();
    if let Some(rest) = head.get_mut(received.bytes..) {
        stream.read_exact(rest)?;
    }
    let length = u32::from_be_bytes(head);
    if length > LONGEST {
        return Err(HandoverError::Unexpected(format!(
            "a message of {length} bytes"
        )));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    let message = serde_json::from_slice(&body)
        .map_err(|error| HandoverError::Unexpected(error.to_string()))?;
    match message {
        Message::Refuse { why } => Err(HandoverError::Refused(why)),
        message => Ok((message, socket)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn messages_and_sockets_arrive() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let message = Message::Socket {
            pod: "pod1/a".into(),
            kind: Kind::DnsTcp,
            address,
        };
        send(&mut one, &message, Some(listener.as_fd())).unwrap();
        send(&mut one, &Message::Given, None).unwrap();
        drop(listener);
        let (said, socket) = receive(&mut other).unwrap();
        assert_eq!(said, message);
        let listener = TcpListener::from(socket.unwrap());
        assert_eq!(listener.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
        let (said, socket) = receive(&mut other).unwrap();
        assert!(said == Message::Given && socket.is_none());
        send(&mut one, &Message::Refuse { why: "no".into() }, None).unwrap();
        assert!(matches!(
            receive(&mut other),
            Err(HandoverError::Refused(_))
        ));
        one.write_all(&[0xff; 4]).unwrap();
        assert!(matches!(
            receive(&mut other),
            Err(HandoverError::Unexpected(_))
        ));
        one.write_all(b"\0\0\0\x02{}").unwrap();
        assert!(matches!(
            receive(&mut other),
            Err(HandoverError::Unexpected(_))
        ));
        drop(one);
        assert!(matches!(receive(&mut other), Err(HandoverError::Gone(_))));
    }
}
