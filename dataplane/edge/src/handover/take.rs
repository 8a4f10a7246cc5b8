//! The side of the process that replaces another.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use dmsc_wire::NameBuf;
use tracing::{info, warn};

use super::message::{HandoverError, Kind, Message, VERSION, receive, send};
use crate::config::Config;
use crate::edge::Edge;
use crate::pod::Shared;
use crate::sockets::Sockets;

/// Longest wait for one message of the process that runs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process before gave.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Sockets by the pod's identity.
    pub sockets: HashMap<String, Sockets>,
    names: HashMap<String, Vec<(Ipv4Addr, NameBuf)>>,
    /// Open until the other process has ended; `None`: there was none.
    conversation: Option<UnixStream>,
}

/// Asks the process that runs for its sockets; it goes on until [`Inherited::finish`].
///
/// # Errors
/// Nobody answers there.
pub fn take(config: &Config) -> anyhow::Result<Inherited> {
    let operator = config.operator.as_ref().ok_or(HandoverError::NoOperator)?;
    let path = super::socket(operator);
    let stream = UnixStream::connect(&path).map_err(|why| HandoverError::Nobody { path, why })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Inherited::ask(stream)?)
}

impl Inherited {
    fn ask(mut stream: UnixStream) -> Result<Self, HandoverError> {
        send(&mut stream, &Message::Ask { version: VERSION }, None)?;
        let mut inherited = Self::default();
        loop {
            match receive(&mut stream)? {
                (Message::Socket { pod, kind, address }, Some(socket)) => {
                    info!(pod, ?kind, %address, "taken over");
                    let sockets = inherited.sockets.entry(pod).or_default();
                    match kind {
                        Kind::Http => sockets.http = Some(TcpListener::from(socket)),
                        Kind::Tcp => sockets.tcp = Some(TcpListener::from(socket)),
                        Kind::DnsTcp => sockets.dns_tcp = Some(TcpListener::from(socket)),
                        Kind::DnsUdp => sockets.dns_udp = Some(UdpSocket::from(socket)),
                    }
                }
                (Message::Names { pod, names }, _) => inherited.note(pod, names),
                (Message::Given, _) => break,
                (other, _) => return Err(HandoverError::Unexpected(format!("{other:?}"))),
            }
        }
        inherited.conversation = Some(stream);
        Ok(inherited)
    }

    /// Whether there is another process, which is to end.
    #[must_use]
    pub const fn is_from_another(&self) -> bool {
        self.conversation.is_some()
    }

    fn note(&mut self, pod: String, names: Vec<(Ipv4Addr, String)>) {
        let parsed = names.into_iter().filter_map(|(address, name)| {
            let name = NameBuf::parse(&name).ok()?;
            Some((address, name))
        });
        self.names.entry(pod).or_default().extend(parsed);
    }

    /// Fills the tables of addresses. When another process runs, nobody here uses them until [`Inherited::finish`].
    pub fn fill(&mut self, pods: &[Arc<Shared>]) {
        let waits = self.conversation.is_some();
        for pod in pods {
            let Some(table) = &pod.names else { continue };
            if waits {
                table.gate().close();
            }
            if let Some(names) = self.names.remove(&pod.config.identity) {
                table.load(names);
            }
        }
    }

    /// Tells the process that ran to end, takes what addresses it gave since, and lets DNS and redirected connections go on. Blocks for a moment.
    ///
    /// # Errors
    /// It refuses, or does not answer: it goes on, so this one must not. One that is gone is no error.
    pub fn finish(mut self, edge: &Edge) -> Result<(), HandoverError> {
        if let Some(mut stream) = self.conversation.take() {
            let ended = self.end(&mut stream);
            match ended {
                Ok(()) => info!("the process before ends"),
                Err(HandoverError::Gone(error))
                    if error.kind() != std::io::ErrorKind::WouldBlock =>
                {
                    warn!(%error, "the process before is gone");
                }
                Err(error) => return Err(error),
            }
            self.fill(&edge.pods);
        }
        let tables = edge.pods.iter().filter_map(|pod| pod.names.as_ref());
        tables.for_each(|table| table.gate().open());
        Ok(())
    }

    fn end(&mut self, stream: &mut UnixStream) -> Result<(), HandoverError> {
        send(stream, &Message::Ready, None)?;
        loop {
            match receive(stream)?.0 {
                Message::Names { pod, names } => self.note(pod, names),
                Message::Ended => return Ok(()),
                other => return Err(HandoverError::Unexpected(format!("{other:?}"))),
            }
        }
    }
}
