//! Where a pod is to be attached: behind the port that its own address is on, or on one that it names and may use.

use std::net::IpAddr;

use dmsc_proto::v1;
use dmsc_wire::NodeId;
use tonic::Status;

use super::Gateway;
use crate::pods::PodPort;

/// Most bytes of a port's name, and of an address as text.
const LIMITS: (usize, usize) = (64, 45);

/// A port, and the pod's address on it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub port: PodPort,
    /// The pod's.
    pub address: IpAddr,
    /// The gateway's, on the same link.
    pub gateway: IpAddr,
    /// Whether the gateway's configuration says who may be there: one identity never takes another's endpoint then.
    pub listed: bool,
}

impl Place {
    /// What `request`, which comes from `caller`, asks for.
    ///
    /// # Errors
    /// Why it cannot be, in words for the pod's owner.
    pub async fn find<G: Gateway>(
        gateway: &G,
        ports: &[PodPort],
        request: &v1::RegisterRequest,
        caller: IpAddr,
    ) -> Result<Self, Status> {
        let found = by_request(ports, gateway.node(), request, caller)?;
        let (name, identity) = (&found.port.name, &request.identity);
        match gateway.allows(name, identity).await? {
            Some(true) => Ok(Self {
                listed: true,
                ..found
            }),
            Some(false) => Err(Status::permission_denied(format!(
                "port: identity {identity:?} may not be attached on port {name:?}; its [[gateway.port]] in the gateway's configuration lists other identities"
            ))),
            // The kernel took the caller's address for proven; on another port nobody proves anything.
            None if found.address != caller => Err(Status::permission_denied(format!(
                "port: who may be attached on port {name:?} by naming it is not said; add a [[gateway.port]] with its name and identities to the gateway's configuration"
            ))),
            None => Ok(found),
        }
    }
}

fn by_request(
    ports: &[PodPort],
    node: NodeId,
    request: &v1::RegisterRequest,
    caller: IpAddr,
) -> Result<Place, Status> {
    let (name, address) = (&request.port, &request.address);
    for (field, text, most) in [("port", name, LIMITS.0), ("address", address, LIMITS.1)] {
        if text.len() > most {
            let length = text.len();
            return Err(Status::invalid_argument(format!(
                "{field}: {length} bytes are too long; at most {most}"
            )));
        }
    }
    if name.is_empty() {
        if !address.is_empty() {
            return Err(Status::invalid_argument(
                "address: is of a pod on a port that it names; say which port, or leave the address to the gateway",
            ));
        }
        return by_address(ports, node, caller);
    }
    let address = match address.as_str() {
        "" => caller,
        text => text.parse().map_err(|_| {
            Status::invalid_argument(format!(
                "address: {text:?} is no IP address; write for example \"10.1.2.2\""
            ))
        })?,
    };
    let Some(port) = ports.iter().find(|port| port.name == *name) else {
        let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        return Err(Status::failed_precondition(format!(
            "port: gateway {node} has no pod port {name:?} ({})",
            list(&known)
        )));
    };
    let Some(gateway) = port.gateway_of(address) else {
        let subnets: Vec<String> = port.subnets.iter().map(ToString::to_string).collect();
        return Err(Status::invalid_argument(format!(
            "address: {address} is in no subnet of port {name:?} ({})",
            list(&subnets)
        )));
    };
    Ok(Place {
        port: port.clone(),
        address,
        gateway,
        listed: false,
    })
}

fn by_address(ports: &[PodPort], node: NodeId, caller: IpAddr) -> Result<Place, Status> {
    let hit = |port: &PodPort| Some((port.clone(), port.gateway_of(caller)?));
    let Some((port, gateway)) = ports.iter().find_map(hit) else {
        let known: Vec<String> = ports
            .iter()
            .flat_map(|port| {
                port.subnets
                    .iter()
                    .map(move |net| format!("{} {net}", port.name))
            })
            .collect();
        return Err(Status::permission_denied(format!(
            "{caller} is in no subnet of a pod port of gateway {node} ({}); register from the pod's own address",
            list(&known)
        )));
    };
    Ok(Place {
        port,
        address: caller,
        gateway,
        listed: false,
    })
}

fn list<T: AsRef<str>>(known: &[T]) -> String {
    if known.is_empty() {
        return "it has none".to_owned();
    }
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    known.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> [PodPort; 2] {
        let port = |name: &str, subnet: &str| PodPort {
            name: name.into(),
            subnets: vec![subnet.parse().unwrap()],
            domain: 1,
            mtu: 9_000,
            kind: "vhost".into(),
        };
        [port("pod1", "10.1.1.1/24"), port("pod1v", "10.1.9.1/30")]
    }

    fn found(port: &str, address: &str) -> Result<(String, String, String), String> {
        let request = v1::RegisterRequest {
            port: port.into(),
            address: address.into(),
            ..Default::default()
        };
        let caller = "10.1.1.2".parse().unwrap();
        let place = by_request(&ports(), NodeId(1), &request, caller);
        let text = |place: Place| {
            let (pod, own) = (place.address.to_string(), place.gateway.to_string());
            (place.port.name, pod, own)
        };
        place
            .map(text)
            .map_err(|status| status.message().to_owned())
    }

    #[test]
    fn a_port_is_found_by_the_callers_address_or_by_its_name() {
        let place = |port: &str, pod: &str, own: &str| Ok((port.into(), pod.into(), own.into()));
        assert_eq!(found("", ""), place("pod1", "10.1.1.2", "10.1.1.1"));
        assert_eq!(found("pod1", ""), place("pod1", "10.1.1.2", "10.1.1.1"));
        let named = found("pod1v", "10.1.9.2");
        assert_eq!(named, place("pod1v", "10.1.9.2", "10.1.9.1"));
    }

    #[test]
    fn what_cannot_be_says_why() {
        for (port, address, words) in [
            ("", "10.1.1.9", "say which port"),
            ("pod7", "10.1.1.9", "no pod port \"pod7\" (pod1, pod1v)"),
            (
                "pod1v",
                "",
                "10.1.1.2 is in no subnet of port \"pod1v\" (10.1.9.1/30)",
            ),
            ("pod1v", "10.1.9.x", "no IP address"),
            ("pod1v", &"1".repeat(46), "46 bytes are too long"),
            (&"p".repeat(65), "", "65 bytes are too long"),
        ] {
            let told = found(port, address).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
