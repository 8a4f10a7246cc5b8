//! ICMP that forwarding learns from: port unreachable from pods, "too big" from somebody else's fabric.

use std::net::IpAddr;

use crate::net::{self, Ip, be16};

/// What an ICMP error says about a datagram that this router sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Nobody listens on that port.
    PortUnreachable(Datagram),
    /// Bytes of the IP packet that would pass.
    TooBig(Datagram, u16),
}

/// The datagram that an ICMP error carries back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it: this router, if the complaint is honest.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

/// Reads an IP packet (behind the Ethernet header) that carries ICMP or ICMPv6; `None` when it is no complaint about UDP.
pub fn parse(packet: &[u8]) -> Option<Complaint> {
    let ip = Ip::parse(packet).ok()?;
    let message = packet.get(ip.header..ip.header + ip.payload)?;
    let &[kind, code, _, _, a, b, c, d, ..] = message else {
        return None;
    };
    let offender = datagram(&message[8..])?;
    match (ip.protocol, kind, code) {
        (net::PROTOCOL_ICMP, 3, 3) | (net::PROTOCOL_ICMPV6, 1, 4) => {
            Some(Complaint::PortUnreachable(offender))
        }
        (net::PROTOCOL_ICMP, 3, 4) => {
            let mtu = u16::from_be_bytes([c, d]);
            // Routers older than RFC 1191 say 0; 576 always passes.
            Some(Complaint::TooBig(
                offender,
                if mtu < 576 { 576 } else { mtu },
            ))
        }
        (net::PROTOCOL_ICMPV6, 2, 0) => {
            let mtu = u32::from_be_bytes([a, b, c, d]).clamp(1280, 65535);
            Some(Complaint::TooBig(offender, mtu as u16))
        }
        _ => None,
    }
}

/// The embedded packet is cut short, so its lengths and checksums are not checked; who acts on it compares the addresses.
fn datagram(packet: &[u8]) -> Option<Datagram> {
    let (source, destination, protocol, header) = match packet.first()? >> 4 {
        4 => {
            let head: &[u8; 20] = packet.first_chunk()?;
            let address =
                |at: usize| IpAddr::from([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            (
                address(12),
                address(16),
                head[9],
                usize::from(head[0] & 15) * 4,
            )
        }
        6 => {
            let head: &[u8; 40] = packet.first_chunk()?;
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&head[at..at + 16]);
                IpAddr::from(octets)
            };
            (address(8), address(24), head[6], 40)
        }
        _ => return None,
    };
    let udp = packet
        .get(header..header + 4)
        .filter(|_| header >= 20 && protocol == net::PROTOCOL_UDP)?;
    Some(Datagram {
        source,
        destination,
        source_port: be16(udp, 0),
        destination_port: be16(udp, 2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::put16;

    fn unreachable(code: u8, mtu: u16) -> Vec<u8> {
        let mut offender = vec![
            0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        offender.extend([0x88, 0xd5, 0x9c, 0x41, 0, 8, 0, 0]);
        let mut packet = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 3, code, 0, 0, 0, 0,
        ];
        packet.extend(mtu.to_be_bytes());
        packet.extend(offender);
        let total = packet.len() as u16;
        put16(&mut packet, 2, total);
        let checksum = net::fold(net::sum(&packet[..20], 0));
        put16(&mut packet, 10, checksum);
        packet
    }

    #[test]
    fn complaints_are_read() {
        let about = Datagram {
            source: "10.0.0.1".parse().expect("a"),
            destination: "10.0.0.2".parse().expect("a"),
            source_port: 35029,
            destination_port: 40001,
        };
        assert_eq!(
            parse(&unreachable(3, 0)),
            Some(Complaint::PortUnreachable(about))
        );
        assert_eq!(
            parse(&unreachable(4, 1400)),
            Some(Complaint::TooBig(about, 1400))
        );
        assert_eq!(
            parse(&unreachable(4, 0)),
            Some(Complaint::TooBig(about, 576))
        );
        assert_eq!(parse(&unreachable(1, 0)), None);
        for length in 0..56 {
            let mut short = unreachable(3, 0);
            short.truncate(length);
            assert_eq!(parse(&short), None, "{length} bytes");
        }
    }
}
