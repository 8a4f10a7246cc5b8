//! Neighbour routers of a transaction.

use std::net::IpAddr;
use std::sync::Arc;

use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::NodeId;

use super::draft::Draft;
use super::{Programmer, address};
use crate::adjacency::{Adjacency, AdjacencyConfig, HelloKey, Liveness, Neighbour};
use crate::outer::{Outer, UdpPath};

impl Programmer {
    pub(super) fn put_adjacency(
        &self,
        draft: &mut Draft,
        given: &v1::Adjacency,
    ) -> Result<(), String> {
        let id = u16::try_from(given.id)
            .ok()
            .filter(|id| *id > 0)
            .ok_or("id must be 1 to 65535")?;
        let port = self.port(&given.port)?;
        if port.is_pod() {
            return Err(format!(
                "port {:?} is a pod port; adjacencies are on router ports",
                given.port
            ));
        }
        if given.peer == 0 {
            return Err("peer must be a node id".into());
        }
        let udp = match given.encapsulation.as_str() {
            "ethernet" => None,
            "udp" | "" => {
                let local = address(&given.local_address, "local_address")?;
                let remote = address(&given.remote_address, "remote_address")?;
                if !port.owns(local) {
                    return Err(format!(
                        "local_address {local} is not an address of port {:?}",
                        given.port
                    ));
                }
                if local.is_ipv4() != remote.is_ipv4() {
                    return Err(format!(
                        "local_address {local} and remote_address {remote} are of different families"
                    ));
                }
                Some((local, remote))
            }
            other => {
                return Err(format!(
                    "encapsulation {other:?} is neither \"udp\" nor \"ethernet\""
                ));
            }
        };
        let next_hop = if given.next_hop.is_empty() {
            None
        } else {
            Some(address(&given.next_hop, "next_hop")?)
        };
        let vlan = u16::try_from(given.vlan)
            .ok()
            .filter(|v| *v <= 4094)
            .ok_or("vlan is above 4094")?;
        let minimum_ttl = match given.minimum_ttl {
            0 => 255,
            n @ 1..=255 => n as u8,
            n => return Err(format!("minimum_ttl {n} is above 255")),
        };
        let key = match (given.key_id, given.key.len()) {
            (0, 0) => None,
            (1..=65535, 16..=64) => Some(HelloKey {
                id: given.key_id as u16,
                secret: given.key.clone(),
            }),
            (id, length) => {
                return Err(format!(
                    "key_id {id} with a key of {length} bytes: give both, id 1 to 65535 and 16 to 64 bytes"
                ));
            }
        };
        if minimum_ttl < 255 && udp.is_some() && key.is_none() {
            return Err(format!(
                "minimum_ttl {minimum_ttl} lets packets from further away in: hellos need a key (key_id, key)"
            ));
        }
        let mtu = match given.mtu {
            0 => port.config.mtu,
            n @ 1280..=9600 => (n as u16).min(port.config.mtu),
            n => return Err(format!("mtu {n} is outside 1280..=9600")),
        };
        let config = AdjacencyConfig {
            id: AdjacencyId(id),
            port: port.number,
            peer: NodeId(given.peer),
            udp,
            next_hop,
            vlan: if vlan == 0 { port.config.vlan } else { vlan },
            minimum_ttl,
            mtu,
            hello_interval_ms: if given.hello_interval_ms == 0 {
                50
            } else {
                given.hello_interval_ms.clamp(10, 10_000) as u16
            },
            hello_multiplier: if given.hello_multiplier == 0 {
                3
            } else {
                given.hello_multiplier.clamp(2, 50) as u8
            },
            key,
        };
        let old = draft.adjacencies.get(config.id).cloned();
        if old.as_ref().is_some_and(|old| old.config == config) {
            return Ok(()); // as it is: its state goes on
        }
        let twin = draft.adjacencies.on_port(port.number).iter().find(|a| {
            a.config.id != config.id && a.config.udp == udp && a.config.vlan == config.vlan
        });
        if let Some(twin) = twin {
            return Err(format!(
                "adjacency {} has the same port, addresses and VLAN",
                twin.config.id
            ));
        }
        let outer = match udp {
            None => Outer::ethernet(port.mac, config.vlan),
            Some((local, remote)) => Outer::udp(
                port.mac,
                config.vlan,
                UdpPath {
                    local,
                    remote,
                    source_port: None,
                    destination_port: self.udp_port,
                    checksum: false,
                },
            ),
        };
        // Same neighbour, other numbers (a new timer or key): the link stays up.
        let kept = old.filter(|o| {
            o.config.peer == config.peer
                && o.config.port == config.port
                && o.config.udp == config.udp
                && o.config.vlan == config.vlan
        });
        let neighbour = match (udp, &kept) {
            (None, Some(old)) => old.neighbour.clone(),
            // Every bare-Ethernet adjacency has its own: the first hello tells the address.
            (None, None) => Arc::new(Neighbour::new(
                port.number,
                config.vlan,
                IpAddr::from([0, 0, 0, 0]),
            )),
            (Some((_, remote)), _) => {
                let asked = next_hop.unwrap_or(remote);
                if !port.is_on_link(asked) {
                    return Err(format!(
                        "{asked} is not on the link of port {:?}: give next_hop, an on-link address towards {remote}",
                        given.port
                    ));
                }
                draft.wanted(port.number, config.vlan, asked)
            }
        };
        let live = kept.map_or_else(|| Arc::new(Liveness::default()), |o| o.live.clone());
        Arc::make_mut(&mut draft.adjacencies).put(Arc::new(Adjacency {
            config,
            outer,
            neighbour,
            live,
        }));
        Ok(())
    }
}

pub(super) fn delete_adjacency(draft: &mut Draft, id: u32) -> Result<(), String> {
    let id = AdjacencyId(u16::try_from(id).map_err(|_| "id is above 65535")?);
    Arc::make_mut(&mut draft.adjacencies)
        .remove(id)
        .map(|_| ())
        .ok_or_else(|| format!("adjacency {id} does not exist"))?;
    draft.endpoints_changed = true;
    Ok(())
}
