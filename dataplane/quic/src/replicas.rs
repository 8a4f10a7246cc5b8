//! Who serves a name beside the instance that answers, at the same gateway.
//!
//! Gateways tell each other that a name is served, not by how many: the network would have to hear of every pod that comes or goes. A gateway tells its own pods
//! one by one, though, so a server that is called tells its callers what its own gateway tells it, and they spread their calls. It has proven the name before.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dmsc_wire::{AttachmentId, NameBuf, NodeId};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

/// Most of one gateway that are told.
pub const MAX_REPLICAS: usize = 256;

/// One instance at the gateway of the server that tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Its attachment.
    pub attachment: AttachmentId,
    /// How it is, as its gateway knows.
    pub health: Health,
}

/// How an instance is, as its own gateway tells: the words of `dmsc_pod::Instance::health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nothing is known, or it is a word of a later version.
    Unknown,
    /// Takes calls.
    Serving,
    /// Takes fewer calls than it gets.
    Overloaded,
    /// Takes no new calls.
    Draining,
    /// Its port is closed, or it answers no probe.
    Unreachable,
}

impl Health {
    /// All, by their numbers in a notice.
    const ALL: [Self; 5] = [
        Self::Unknown,
        Self::Serving,
        Self::Overloaded,
        Self::Draining,
        Self::Unreachable,
    ];

    /// The word of the pod API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Serving => "serving",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
        }
    }

    pub(crate) fn of_word(word: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.as_str() == word)
            .unwrap_or(Self::Unknown)
    }

    const fn number(self) -> u8 {
        self as u8
    }

    fn of_number(number: u8) -> Self {
        let known = Self::ALL.get(usize::from(number));
        known.copied().unwrap_or(Self::Unknown)
    }
}

/// `count(2) { attachment(2) health(1) }`; of too many, those with the lowest attachments.
pub(crate) fn encode(replicas: &[Replica]) -> Bytes {
    let told = &replicas[..replicas.len().min(MAX_REPLICAS)];
    let mut out = (told.len() as u16).to_be_bytes().to_vec();
    for one in told {
        out.extend(one.attachment.0.to_be_bytes());
        out.push(one.health.number());
    }
    out.into()
}

/// Reads a list.
///
/// # Errors
/// The stream broke off before its end, or it is too long.
pub async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Vec<Replica>> {
    let count = usize::from(stream.read_u16().await?);
    if count > MAX_REPLICAS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{count} replicas, of {MAX_REPLICAS} at most"),
        ));
    }
    let mut replicas = Vec::with_capacity(count);
    for _ in 0..count {
        replicas.push(Replica {
            attachment: AttachmentId(stream.read_u16().await?),
            health: Health::of_number(stream.read_u8().await?),
        });
    }
    Ok(replicas)
}

/// What servers of one name tell, by their gateways. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Replicas(Arc<[Voice]>);

/// One server's word; it counts while the connection to it lives.
#[derive(Debug, Clone)]
struct Voice {
    gateway: NodeId,
    connection: usize,
    replicas: Arc<[Replica]>,
}

impl Replicas {
    /// Those at a gateway, as the server said who spoke last of those that are connected. Empty: nobody said anything.
    #[must_use]
    pub fn at(&self, gateway: NodeId) -> &[Replica] {
        let mut all = self.0.iter();
        all.rfind(|voice| voice.gateway == gateway)
            .map_or(&[], |voice| &voice.replicas)
    }

    fn without(&self, connection: usize) -> Vec<Voice> {
        let others = self.0.iter().filter(|one| one.connection != connection);
        others.cloned().collect()
    }
}

/// What a caller hears, for those who follow a name.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<HashMap<NameBuf, watch::Sender<Replicas>>>);

/// An ear for what one connection says; what it heard is forgotten with it.
#[derive(Debug)]
pub(crate) struct Ear {
    heard: Arc<Heard>,
    name: NameBuf,
    gateway: NodeId,
    connection: usize,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, HashMap<NameBuf, watch::Sender<Replicas>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is heard of a name from now on.
    pub fn follow(&self, name: &NameBuf) -> watch::Receiver<Replicas> {
        let mut names = self.lock();
        names.retain(|_, told| told.receiver_count() > 0);
        names.entry(name.clone()).or_default().subscribe()
    }

    /// To listen to one connection.
    pub fn ear(self: &Arc<Self>, name: &NameBuf, gateway: NodeId, connection: usize) -> Ear {
        Ear {
            heard: Arc::clone(self),
            name: name.clone(),
            gateway,
            connection,
        }
    }
}

impl Ear {
    /// The server said this. Nobody keeps it if nobody follows the name.
    pub fn hears(&self, replicas: Vec<Replica>) {
        if let Some(told) = self.heard.lock().get(&self.name) {
            told.send_modify(|now| {
                let mut voices = now.without(self.connection);
                voices.push(Voice {
                    gateway: self.gateway,
                    connection: self.connection,
                    replicas: replicas.into(),
                });
                *now = Replicas(voices.into());
            });
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(told) = self.heard.lock().get(&self.name) {
            told.send_if_modified(|now| {
                let others = now.without(self.connection);
                let spoke = others.len() < now.0.len();
                *now = Replicas(others.into());
                spoke
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(list: &[(u16, Health)]) -> Vec<Replica> {
        let one = |(attachment, health): &(u16, Health)| Replica {
            attachment: AttachmentId(*attachment),
            health: *health,
        };
        list.iter().map(one).collect()
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_no_more_than_may_be() {
        let all = replicas(&[(1, Health::Serving), (700, Health::Unreachable)]);
        let bytes = encode(&all);
        assert_eq!(bytes[..], [0, 2, 0, 1, 1, 2, 188, 4]);
        assert_eq!(read(&mut &bytes[..]).await.unwrap(), all);
        let later = read(&mut &[0, 1, 0, 1, 9][..]).await.unwrap();
        assert_eq!(later, replicas(&[(1, Health::Unknown)]));
        assert!(read(&mut &bytes[..7]).await.is_err());
        assert!(read(&mut &[1, 1][..]).await.is_err());
        let many = vec![all[0]; 300];
        assert_eq!(read(&mut &encode(&many)[..]).await.unwrap().len(), 256);
        for health in Health::ALL {
            assert_eq!(Health::of_word(health.as_str()), health);
            assert_eq!(Health::of_number(health.number()), health);
        }
    }

    #[test]
    fn the_last_who_spoke_counts_while_it_is_connected() {
        let heard = Arc::new(Heard::default());
        let cart = NameBuf::parse("/shop/cart").unwrap();
        let ears =
            [(4, 1), (4, 2), (5, 3)].map(|(gateway, id)| heard.ear(&cart, NodeId(gateway), id));
        ears[0].hears(replicas(&[(9, Health::Serving)]));
        let told = heard.follow(&cart);
        assert_eq!(told.borrow().at(NodeId(4)), [], "nobody followed it");
        let (one, two) = (
            replicas(&[(1, Health::Serving)]),
            replicas(&[(2, Health::Draining)]),
        );
        ears[0].hears(one.clone());
        ears[1].hears(two.clone());
        ears[2].hears(one.clone());
        assert_eq!(told.borrow().at(NodeId(4)), two);
        let [first, second, third] = ears;
        drop(second);
        assert_eq!(told.borrow().at(NodeId(4)), one);
        drop(first);
        assert_eq!(told.borrow().at(NodeId(4)), []);
        assert_eq!(told.borrow().at(NodeId(5)), one);
        drop((told, third));
        drop(heard.follow(&NameBuf::parse("/shop/pay").unwrap()));
        assert_eq!(heard.lock().len(), 1, "nobody follows the other any more");
    }
}
