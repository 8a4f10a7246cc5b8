//! ARP (RFC 826) and neighbour discovery (RFC 4861): answers for the dataplane's addresses, asks for next hops and pods.

use std::net::{IpAddr, Ipv6Addr};

use crate::mac::MacAddress;
use crate::net::{self, ETHERTYPE_ARP, ETHERTYPE_IPV6, Ethernet, PROTOCOL_ICMPV6, be16, put16};
use crate::port::PortState;

/// Longest frame that this module builds.
pub const MAX_FRAME: usize = 18 + 40 + 32;

/// What a resolution message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Whose address is told.
    pub sender: IpAddr,
    /// The MAC address told with it; `None` in a solicitation without one (duplicate address detection).
    pub sender_mac: Option<MacAddress>,
    /// The address that is asked for, in a request.
    pub asked: Option<IpAddr>,
    /// An answer, not a question.
    pub is_answer: bool,
}

/// Reads an ARP packet (behind the Ethernet header).
pub fn parse_arp(packet: &[u8]) -> Option<Resolution> {
    let arp: &[u8; 28] = packet.first_chunk()?;
    if arp[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let ip = |at: usize| IpAddr::from([arp[at], arp[at + 1], arp[at + 2], arp[at + 3]]);
    let mut mac = MacAddress::default();
    mac.0.copy_from_slice(&arp[8..14]);
    let operation = be16(arp, 6);
    match operation {
        1 => Some(Resolution {
            sender: ip(14),
            sender_mac: Some(mac),
            asked: Some(ip(24)),
            is_answer: false,
        }),
        2 => Some(Resolution {
            sender: ip(14),
            sender_mac: Some(mac),
            asked: None,
            is_answer: true,
        }),
        _ => None,
    }
}

/// Reads a neighbour solicitation or advertisement (an IPv6 packet, behind the Ethernet header); others are `None`.
pub fn parse_discovery(packet: &[u8]) -> Option<Resolution> {
    let ip = net::Ip::parse(packet).ok()?;
    // Hop limit 255 proves that it is from this link (RFC 4861, 7.1).
    if ip.protocol != PROTOCOL_ICMPV6 || ip.ttl != 255 || ip.payload < 24 {
        return None;
    }
    let message = &packet[ip.header..ip.header + ip.payload];
    let pseudo = net::pseudo_header(ip.source, ip.destination, PROTOCOL_ICMPV6, message.len());
    if net::fold(net::sum(message, pseudo)) != 0 {
        return None;
    }
    let mut target = [0; 16];
    target.copy_from_slice(&message[8..24]);
    let target = IpAddr::V6(Ipv6Addr::from(target));
    let option = |wanted: u8| {
        let mut rest = &message[24..];
        while let [kind, units, ..] = *rest {
            let length = usize::from(units) * 8;
            let body = rest.get(..length).filter(|_| length > 0)?;
            if kind == wanted && length == 8 {
                let mut mac = MacAddress::default();
                mac.0.copy_from_slice(&body[2..8]);
                return Some(mac);
            }
            rest = &rest[length..];
        }
        None
    };
    match message[0] {
        135 => Some(Resolution {
            sender: ip.source,
            sender_mac: option(1),
            asked: Some(target),
            is_answer: false,
        }),
        136 => Some(Resolution {
            sender: target,
            sender_mac: option(2),
            asked: None,
            is_answer: true,
        }),
        _ => None,
    }
}

/// Writes the question for `address` on `port`; its length, 0 if the port has no address of that family to ask from.
pub fn ask(port: &PortState, vlan: u16, address: IpAddr, out: &mut [u8; MAX_FRAME]) -> usize {
    match address {
        IpAddr::V4(_) => {
            let own = port
                .config
                .addresses
                .iter()
                .find(|n| n.contains(&address))
                .or_else(|| port.config.addresses.iter().find(|n| n.addr().is_ipv4()));
            let Some(own) = own else { return 0 };
            arp(
                port.mac,
                MacAddress::BROADCAST,
                vlan,
                1,
                own.addr(),
                MacAddress::default(),
                address,
                out,
            )
        }
        IpAddr::V6(target) => {
            let [.., x, y, z] = target.octets();
            let group = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(x),
                u16::from_be_bytes([y, z]),
            );
            let source = port
                .config
                .addresses
                .iter()
                .map(|n| n.addr())
                .find(IpAddr::is_ipv6)
                .unwrap_or(port.link_local);
            discovery(
                port.mac,
                MacAddress([0x33, 0x33, 0xff, x, y, z]),
                vlan,
                135,
                source,
                IpAddr::V6(group),
                target,
                out,
            )
        }
    }
}

/// Writes the answer to `question` about one of the port's addresses; its length, 0 if it is not to be answered.
pub fn answer(
    port: &PortState,
    vlan: u16,
    question: &Resolution,
    out: &mut [u8; MAX_FRAME],
) -> usize {
    let Some(asked) = question.asked.filter(|a| port.owns(*a)) else {
        return 0;
    };
    match asked {
        IpAddr::V4(_) => {
            let Some(mac) = question.sender_mac.filter(|m| m.is_unicast()) else {
                return 0;
            };
            arp(port.mac, mac, vlan, 2, asked, mac, question.sender, out)
        }
        IpAddr::V6(target) => {
            let (mac, to) = match (question.sender.is_unspecified(), question.sender_mac) {
                (false, Some(mac)) => (mac, question.sender),
                // Duplicate address detection: everybody shall know that it is taken.
                _ => (
                    MacAddress([0x33, 0x33, 0, 0, 0, 1]),
                    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
                ),
            };
            discovery(port.mac, mac, vlan, 136, asked, to, target, out)
        }
    }
}

#[allow(clippy::too_many_arguments)] // the fields of the packet, in its order
fn arp(
    own: MacAddress,
    to: MacAddress,
    vlan: u16,
    operation: u16,
    sender: IpAddr,
    target_mac: MacAddress,
    target: IpAddr,
    out: &mut [u8; MAX_FRAME],
) -> usize {
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (sender, target) else {
        return 0;
    };
    let at = Ethernet {
        destination: to,
        source: own,
        vlan,
        ethertype: ETHERTYPE_ARP,
        length: 0,
    }
    .write(out);
    let arp = &mut out[at..at + 28];
    arp[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    put16(arp, 6, operation);
    arp[8..14].copy_from_slice(&own.0);
    arp[14..18].copy_from_slice(&sender.octets());
    arp[18..24].copy_from_slice(&target_mac.0);
    arp[24..28].copy_from_slice(&target.octets());
    at + 28
}

#[allow(clippy::too_many_arguments)] // the fields of the packet, in its order
fn discovery(
    own: MacAddress,
    to: MacAddress,
    vlan: u16,
    kind: u8,
    source: IpAddr,
    destination: IpAddr,
    target: Ipv6Addr,
    out: &mut [u8; MAX_FRAME],
) -> usize {
    let (IpAddr::V6(from), IpAddr::V6(towards)) = (source, destination) else {
        return 0;
    };
    let at = Ethernet {
        destination: to,
        source: own,
        vlan,
        ethertype: ETHERTYPE_IPV6,
        length: 0,
    }
    .write(out);
    let ip = &mut out[at..at + 72];
    ip.fill(0);
    ip[0] = 0x60;
    put16(ip, 4, 32);
    ip[6] = PROTOCOL_ICMPV6;
    ip[7] = 255;
    ip[8..24].copy_from_slice(&from.octets());
    ip[24..40].copy_from_slice(&towards.octets());
    let message = &mut ip[40..];
    message[0] = kind;
    if kind == 136 {
        let solicited = if towards.is_multicast() { 0 } else { 0x40 };
        message[4] = 0xa0 | solicited; // router, override
    }
    message[8..24].copy_from_slice(&target.octets());
    message[24] = if kind == 135 { 1 } else { 2 };
    message[25] = 1;
    message[26..32].copy_from_slice(&own.0);
    let checksum = net::fold(net::sum(
        message,
        net::pseudo_header(source, destination, PROTOCOL_ICMPV6, 32),
    ));
    put16(message, 2, checksum);
    at + 72
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::port;

    #[test]
    fn questions_and_answers_meet() {
        for (own, other) in [("10.0.0.1/24", "10.0.0.2/24"), ("fd00::1/64", "fd00::2/64")] {
            let (asker, asked) = (port(0, &[own]), port(1, &[other]));
            let target = asked.config.addresses[0].addr();
            let mut out = [0; MAX_FRAME];
            let length = ask(&asker, 0, target, &mut out);
            let parse = |frame: &[u8]| {
                let ethernet = Ethernet::parse(frame).expect("ethernet");
                if ethernet.ethertype == ETHERTYPE_ARP {
                    parse_arp(&frame[14..])
                } else {
                    parse_discovery(&frame[14..])
                }
            };
            let question = parse(&out[..length]).expect("question");
            assert_eq!(
                question,
                Resolution {
                    sender: asker.config.addresses[0].addr(),
                    sender_mac: Some(asker.mac),
                    asked: Some(target),
                    is_answer: false
                }
            );
            assert_eq!(answer(&asker, 0, &question, &mut out), 0, "not its address");
            let length = answer(&asked, 0, &question, &mut out);
            let told = parse(&out[..length]).expect("answer");
            assert_eq!(
                (told.sender, told.sender_mac, told.is_answer),
                (target, Some(asked.mac), true)
            );
        }
    }
}
