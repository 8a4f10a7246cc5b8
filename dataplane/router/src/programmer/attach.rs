//! Pods of a transaction: endpoints get ids, and ids rest before another endpoint gets them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, Domain, Name};

use super::draft::Draft;
use super::{Programmer, name};
use crate::adjacency::Neighbour;
use crate::attachment::{Attachment, Endpoint, NameSet};
use crate::config::Role;
use crate::mac::MacAddress;
use crate::outer::{Outer, UdpPath};
use crate::silence::Silence;

/// Time that an attachment id rests before another endpoint gets it (design §3).
pub(super) const REST: Duration = Duration::from_secs(120);
/// Time that packets are still taken from the endpoint that an attachment has moved away from: what was under way, and what is sent until the pod has its answer.
const MOVING: Duration = Duration::from_secs(5);
/// Most names of one attachment: as many prefixes as a pod may register, and its own name.
const MAX_NAMES: usize = 65_536 + 1;

impl Programmer {
    pub(super) fn attach(&self, draft: &mut Draft, given: &v1::Attachment) -> Result<(), String> {
        if self.role != Role::Sg {
            return Err("a router (role \"sr\") has no pods".into());
        }
        let port = self.port(&given.port)?.clone();
        if !port.is_pod() {
            return Err(format!(
                "port {:?} is a router port; attachments are on pod ports",
                given.port
            ));
        }
        if given.identity.is_empty() || given.identity.len() > 255 {
            return Err("identity must have 1 to 255 bytes".into());
        }
        if given.serves.len() + given.owns.len() > MAX_NAMES {
            return Err(format!(
                "{} names; an attachment has at most {MAX_NAMES}",
                given.serves.len() + given.owns.len()
            ));
        }
        let endpoint = if let Ok(ip) = given.address.parse::<IpAddr>() {
            let udp_port = u16::try_from(given.udp_port)
                .ok()
                .filter(|p| *p > 0)
                .ok_or("udp_port must be 1 to 65535")?;
            if !port.is_on_link(ip) || port.owns(ip) {
                return Err(format!(
                    "address {ip} is not a pod's on the link of port {:?}",
                    given.port
                ));
            }
            Endpoint::Udp(ip, udp_port)
        } else {
            Endpoint::Ethernet(given.address.parse().map_err(|_| {
                format!(
                    "address {:?} is neither an IP nor a MAC address",
                    given.address
                )
            })?)
        };
        let names = |list: &[Vec<u8>]| {
            list.iter()
                .map(|bytes| name(bytes).map(Name::to_owned))
                .collect::<Result<Vec<_>, _>>()
        };
        let (serves, owns) = (names(&given.serves)?, names(&given.owns)?);
        let domain = if given.domain == 0 {
            port.config.domain
        } else {
            Domain(given.domain)
        };
        let same = draft.attachments.from(port.number, endpoint).cloned();
        let keeps = same
            .as_ref()
            .filter(|a| a.identity == given.identity && a.domain == domain)
            .map(|a| a.id);
        if given.moves && given.id == 0 {
            return Err("moves: say which attachment, by its id".into());
        }
        let id = match (given.id, keeps) {
            (0, Some(id)) => id,
            (0, None) => free_id(draft)?,
            (id, keeps) => {
                let id = AttachmentId(u16::try_from(id).map_err(|_| "id is above 65535")?);
                let rested = draft
                    .resting
                    .get(&id.0)
                    .is_none_or(|since| since.elapsed() >= REST);
                if given.moves {
                    self.may_move(draft, id, given, domain)?;
                } else if keeps != Some(id)
                    && !given.force
                    && (!rested || draft.attachments.get(id).is_some())
                {
                    return Err(format!(
                        "attachment id {id} is in use or rests for {} s; leave id 0, or set force",
                        REST.as_secs()
                    ));
                }
                id
            }
        };
        let mut former = draft.attachments.former_of(id);
        if given.moves
            && let Some(old) = draft.attachments.get(id)
        {
            former.push(((old.port, old.endpoint), Instant::now() + MOVING));
        }
        // Whoever had the endpoint or the id before is gone.
        if let Some(old) = same.filter(|a| a.id != id) {
            self.detach(draft, old.id);
        }
        let kept = draft
            .attachments
            .get(id)
            .filter(|a| a.endpoint == endpoint && a.port == port.number)
            .cloned();
        self.detach(draft, id);
        Arc::make_mut(&mut draft.resting).remove(&id.0);
        let (outer, neighbour) = match endpoint {
            Endpoint::Ethernet(mac) => {
                let neighbour =
                    Neighbour::new(port.number, port.config.vlan, IpAddr::from([0, 0, 0, 0]));
                neighbour.learn(mac, 1);
                (
                    Outer::ethernet(port.mac, port.config.vlan),
                    Arc::new(neighbour),
                )
            }
            Endpoint::Udp(ip, udp_port) => {
                let own = port.config.addresses.iter().find(|n| n.contains(&ip));
                let Some(own) = own else {
                    return Err(format!(
                        "port {:?} has no address on the link of {ip}",
                        given.port
                    ));
                };
                let path = UdpPath {
                    local: own.addr(),
                    remote: ip,
                    source_port: Some(self.udp_port),
                    destination_port: udp_port,
                    // Nothing on the way can damage shared memory; IPv4 lets the checksum be absent (RFC 768).
                    checksum: !(port.config.kind.is_shared_memory() && ip.is_ipv4()),
                };
                let neighbour = draft.wanted(port.number, port.config.vlan, ip);
                let guest = MacAddress::from_bits(port.guest.load(Relaxed));
                if neighbour.mac().is_none() {
                    // Heard long ago, so it is asked soon all the same.
                    neighbour.learn(guest, 1);
                }
                (Outer::udp(port.mac, port.config.vlan, path), neighbour)
            }
        };
        for prefix in &serves {
            self.change_prefix(draft, (domain, prefix.clone()), |state| {
                if let Err(place) = state.local.binary_search(&id) {
                    state.local.insert(place, id);
                }
            });
        }
        let reachable = kept.map_or_else(|| Arc::new(true.into()), |a| a.reachable.clone());
        Arc::make_mut(&mut draft.attachments).put(Arc::new(Attachment {
            id,
            port: port.number,
            endpoint,
            domain,
            identity: given.identity.clone(),
            names: NameSet::new(serves.iter().chain(&owns).map(|n| n.as_name())),
            serves,
            owns,
            class_limit: if given.class_limit == 0 {
                5
            } else {
                given.class_limit.min(7) as u8
            },
            outer,
            neighbour,
            reachable,
            lease_ms: given.lease_ms,
            silence: Silence::default(),
        }));
        for (place, until) in former {
            Arc::make_mut(&mut draft.attachments).put_former(id, place, until);
        }
        draft.attached.push(id);
        draft.endpoints_changed = true;
        Ok(())
    }

    /// Whether the attachment `id` is the one that `given` says moves.
    fn may_move(
        &self,
        draft: &Draft,
        id: AttachmentId,
        given: &v1::Attachment,
        domain: Domain,
    ) -> Result<(), String> {
        let Some(old) = draft.attachments.get(id) else {
            return Err(format!(
                "attachment {id} does not exist, so it cannot move; attach it anew"
            ));
        };
        if old.identity != given.identity || old.domain != domain {
            return Err(format!(
                "attachment {id} is of identity {:?} in domain {}; it moves only within its own",
                old.identity, old.domain
            ));
        }
        Ok(())
    }

    pub(super) fn detach_id(&self, draft: &mut Draft, id: u32) -> Result<(), String> {
        let id = AttachmentId(u16::try_from(id).map_err(|_| "id is above 65535")?);
        if draft.attachments.get(id).is_none() {
            return Err(format!("attachment {id} does not exist"));
        }
        self.detach(draft, id);
        Ok(())
    }

    pub(super) fn detach(&self, draft: &mut Draft, id: AttachmentId) {
        if draft.attachments.get(id).is_none() {
            return; // and nothing is copied for it
        }
        let Some(old) = Arc::make_mut(&mut draft.attachments).remove(id) else {
            return;
        };
        for prefix in &old.serves {
            self.change_prefix(draft, (old.domain, prefix.clone()), |state| {
                state.local.retain(|other| *other != id)
            });
        }
        Arc::make_mut(&mut draft.resting).insert(id.0, Instant::now());
        draft.endpoints_changed = true;
    }
}

/// An id that is free and has rested, searched round-robin so that ids come back late.
fn free_id(draft: &mut Draft) -> Result<AttachmentId, String> {
    for _ in 0..u16::MAX {
        let id = AttachmentId(draft.next_id);
        draft.next_id = if draft.next_id == u16::MAX {
            1
        } else {
            draft.next_id + 1
        };
        let rested = draft
            .resting
            .get(&id.0)
            .is_none_or(|since| since.elapsed() >= REST);
        if rested && draft.attachments.get(id).is_none() {
            return Ok(id);
        }
    }
    Err(format!(
        "all 65535 attachment ids are in use or rest for {} s",
        REST.as_secs()
    ))
}
