//! The other end of a connection, as packets see it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dmsc_pod::{Pin, Towards, Treatment};
use dmsc_wire::{AttachmentId, Class, FlowLabel, Name, NameBuf, NodeId};
use tokio::sync::Notify;

/// Who it is.
#[derive(Debug)]
pub(crate) enum Role {
    /// An instance of a name that this end calls; pinned to the one that answers first.
    Instance {
        name: NameBuf,
        /// Chosen by the caller; attachment 0 = any at that gateway.
        wanted: Option<Pin>,
        pin: OnceLock<Pin>,
    },
    /// Somebody who called this end.
    Caller(Caller),
}

/// A caller: its gateway wrote where it is, and checked that the name is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub gateway: NodeId,
    pub attachment: AttachmentId,
    pub name: NameBuf,
    pub called: NameBuf,
}

/// One entry of the table. Whoever has a clone of its `Arc` keeps it there.
#[derive(Debug)]
pub(crate) struct Peer {
    pub role: Role,
    /// Of every packet there and back: one connection, one way.
    pub flow: FlowLabel,
    /// Since the table last looked for somebody to forget.
    pub used: AtomicBool,
    /// Of the last packet of a caller: its class, and in bit 3 whether it came by delay.
    treatment: AtomicU8,
    /// When routers began to say that there is no way.
    no_route: Mutex<Option<Instant>>,
    unreachable: Notify,
}

impl Peer {
    pub fn new(role: Role, flow: FlowLabel) -> Self {
        Self {
            role,
            flow,
            used: AtomicBool::new(true),
            treatment: AtomicU8::new(0),
            no_route: Mutex::default(),
            unreachable: Notify::new(),
        }
    }

    /// Where its packets go.
    pub fn towards(&self) -> Towards<'_> {
        match &self.role {
            Role::Instance { name, wanted, pin } => Towards::Name {
                name: name.as_name(),
                pin: pin.get().copied().or(*wanted),
            },
            Role::Caller(caller) => Towards::Caller {
                caller: caller.name.as_name(),
                gateway: caller.gateway,
                attachment: caller.attachment,
                called: caller.called.as_name(),
            },
        }
    }

    /// Whether a response from there is of the instance: the first that answers is the one, and a second that got a repeated packet is not
    /// listened to.
    pub fn is_answered_by(&self, from: Name<'_>, place: Pin) -> bool {
        let Role::Instance { name, wanted, pin } = &self.role else {
            return false;
        };
        let meant = wanted.is_none_or(|wanted| {
            wanted.gateway == place.gateway
                && [AttachmentId::ANY, place.attachment].contains(&wanted.attachment)
        });
        name.as_name() == from && meant && *pin.get_or_init(|| place) == place
    }

    /// The name that was called.
    pub const fn called(&self) -> &NameBuf {
        match &self.role {
            Role::Instance { name, .. } => name,
            Role::Caller(caller) => &caller.called,
        }
    }

    /// Where it is, once that is known.
    pub fn place(&self) -> Option<Pin> {
        match &self.role {
            Role::Instance { pin, .. } => pin.get().copied(),
            Role::Caller(caller) => Some(Pin {
                gateway: caller.gateway,
                attachment: caller.attachment,
            }),
        }
    }

    /// A request came from it with this treatment.
    pub fn called_with(&self, treatment: Treatment) {
        let bits = treatment.class.0 & 7 | u8::from(treatment.by_delay) << 3;
        self.treatment.store(bits, Relaxed);
    }

    /// The treatment of answers: that of what they answer, whoever chose it, the caller or its gateway. `None`: it is not a caller.
    pub fn answers_with(&self) -> Option<Treatment> {
        match &self.role {
            Role::Instance { .. } => None,
            Role::Caller(_) => {
                let bits = self.treatment.load(Relaxed);
                Some(Treatment {
                    class: Class(bits & 7),
                    by_delay: bits & 8 != 0,
                })
            }
        }
    }

    /// A packet came from it.
    pub fn heard(&self) {
        self.used.store(true, Relaxed);
        *self.no_route.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A router says that there is no way to it.
    pub fn no_route(&self, now: Instant, patience: Duration) {
        let mut since = self.no_route.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert(now);
        if now.saturating_duration_since(since) >= patience {
            self.unreachable.notify_one();
        }
    }

    /// Until routers have said for long enough that there is no way.
    pub async fn unreachable(&self) {
        self.unreachable.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_as_the_last_request_came() {
        let name = NameBuf::parse("/shop/a").expect("a name");
        let caller = Caller {
            gateway: NodeId(1),
            attachment: AttachmentId(2),
            name: name.clone(),
            called: name.clone(),
        };
        let peer = Peer::new(Role::Caller(caller), FlowLabel(1));
        for by_delay in [true, false] {
            for class in 0..8 {
                let class = Class(class);
                let treatment = Treatment { class, by_delay };
                peer.called_with(treatment);
                assert_eq!(peer.answers_with(), Some(treatment));
            }
        }
        let instance = Role::Instance {
            name,
            wanted: None,
            pin: OnceLock::new(),
        };
        let peer = Peer::new(instance, FlowLabel(1));
        peer.called_with(Class(5).into());
        assert_eq!(peer.answers_with(), None);
    }
}
