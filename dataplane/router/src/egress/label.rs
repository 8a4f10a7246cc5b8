//! Which class a frame that is ready to leave has, and where its marks of congestion are.

use dmsc_wire::{Class, Ecn, patch};

use crate::net::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ip};
use crate::outer::DSCP;
use crate::port::PortState;

/// Most that a frame gets which the kernel only passes on: its DSCP is the word of whoever wrote it.
const STRANGERS_MOST: u8 = 5;
/// What this router's own kernel sends without a code point: signalling, logins, other routing protocols. With a share, so that none of
/// them starves others.
const OWN: u8 = 5;
/// Classes of the eight class selectors (RFC 2474), for code points that no class is sent with.
const BY_PRECEDENCE: [u8; 8] = [0, 1, 3, 4, 5, 6, 7, 7];
/// Neighbour discovery: messages 133 to 137 of ICMPv6 (RFC 4861).
const DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
/// Of the byte with class and ECN in the DMSC header.
const CLASS_ECN: usize = 3;

/// What the queues want to know of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its class, 0 to 7.
    pub class: u8,
    /// Where the IP header is, 0: none.
    ip: u16,
    /// Where the DMSC header is, 0: none.
    dmsc: u16,
}

impl Label {
    /// Reads a frame that leaves by `port`. The class of a DMSC packet stands in it, where this router wrote the frame; what the kernel
    /// sends has the class of its DSCP (without one 5), and what it only passes on for others no strict one by default.
    pub fn of(frame: &[u8], port: &PortState, udp_port: u16) -> Label {
        let none = |class| Label {
            class,
            ip: 0,
            dmsc: 0,
        };
        let Some(ethernet) = Ethernet::parse(frame) else {
            return none(0);
        };
        let at = ethernet.length;
        match ethernet.ethertype {
            ETHERTYPE_ARP => none(Class::CONTROL.0),
            dmsc_wire::ETHERTYPE => match class_at(frame, at) {
                Some(class) => Label {
                    class,
                    ip: 0,
                    dmsc: at as u16,
                },
                None => none(0),
            },
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Label::of_ip(frame, at, port, udp_port),
            _ => none(0),
        }
    }

    fn of_ip(frame: &[u8], at: usize, port: &PortState, udp_port: u16) -> Label {
        let mut label = Label {
            class: 0,
            ip: at as u16,
            dmsc: 0,
        };
        let Some(Ok(ip)) = frame.get(at..).map(Ip::parse) else {
            label.ip = 0;
            return label;
        };
        let behind = at + ip.header;
        let is_own = port.owns(ip.source);
        if ip.protocol == net::PROTOCOL_ICMPV6 {
            // With a hop limit of 255 it is from this host: a router would have taken one.
            let discovery = frame
                .get(behind)
                .is_some_and(|kind| DISCOVERY.contains(kind));
            if ip.ttl == 255 && discovery {
                label.class = Class::CONTROL.0;
                return label;
            }
        }
        if is_own
            && ip.protocol == net::PROTOCOL_UDP
            && [net::be16(frame, behind), net::be16(frame, behind + 2)].contains(&udp_port)
            && let Some(class) = class_at(frame, behind + 8)
        {
            label.class = class;
            label.dmsc = (behind + 8) as u16;
            return label;
        }
        let dscp = traffic_class(frame, at) >> 2;
        let class = by_dscp(dscp);
        label.class = match (is_own, dscp) {
            (true, 0) => OWN,
            (true, _) => class,
            (false, _) => class.min(STRANGERS_MOST),
        };
        label
    }

    /// Writes congestion experienced into every header of the frame that has a place for it, if its transport understands (RFC 3168);
    /// whether it does. Checksums are kept right (RFC 1624).
    pub fn mark(&self, frame: &mut [u8]) -> bool {
        let dmsc = usize::from(self.dmsc);
        if dmsc != 0 {
            let Some(&byte) = frame.get(dmsc + CLASS_ECN) else {
                return false;
            };
            let ecn = Ecn::from_bits(byte >> 3);
            if ecn == Ecn::NotEct {
                return false;
            }
            let before = net::be16(frame, dmsc + 2);
            if let Some(packet) = frame.get_mut(dmsc..) {
                patch::set_ecn(packet, ecn.mark());
            }
            let after = net::be16(frame, dmsc + 2);
            if self.ip != 0 {
                let checksum = dmsc - 2;
                match net::be16(frame, checksum) {
                    0 => {} // there is none
                    old => {
                        let new = match adjust(old, before, after) {
                            0 => 0xffff,
                            new => new,
                        };
                        net::put16(frame, checksum, new);
                    }
                }
            }
        }
        if self.ip == 0 {
            return dmsc != 0;
        }
        let at = usize::from(self.ip);
        // Between routers the header's is the truth, and the outer one follows (RFC 6040); of other packets there is only this.
        if traffic_class(frame, at) & 3 == 0 && dmsc == 0 {
            return false;
        }
        let before = net::be16(frame, at);
        let is_v4 = before >> 12 == 4;
        let after = before | if is_v4 { 3 } else { 3 << 4 };
        net::put16(frame, at, after);
        if is_v4 {
            let checksum = net::be16(frame, at + 10);
            net::put16(frame, at + 10, adjust(checksum, before, after));
        }
        true
    }
}

/// A checksum after a word that it covers changed (RFC 1624, equation 3).
fn adjust(checksum: u16, before: u16, after: u16) -> u16 {
    net::fold(u64::from(!checksum) + u64::from(!before) + u64::from(after))
}

/// The class in a DMSC header at `at`, if there is one of this version.
fn class_at(frame: &[u8], at: usize) -> Option<u8> {
    let head = frame.get(at..at + 4)?;
    (head[0] >> 4 == dmsc_wire::VERSION).then_some(head[CLASS_ECN] >> 5)
}

/// DSCP and ECN of the IP header at `at`, of either family.
fn traffic_class(frame: &[u8], at: usize) -> u8 {
    let word = net::be16(frame, at);
    if word >> 12 == 4 {
        word as u8
    } else {
        (word >> 4) as u8
    }
}

/// The class that is sent with this code point, or that of its precedence.
fn by_dscp(dscp: u8) -> u8 {
    match DSCP.iter().position(|known| *known == dscp) {
        Some(class) => class as u8,
        None => BY_PRECEDENCE[usize::from(dscp >> 3 & 7)],
    }
}

#[cfg(test)]
mod tests {
    use dmsc_wire::{Kind, NameBuf, PacketBuilder};

    use super::*;
    use crate::frame::{Frame, PlainFrame};
    use crate::mac::MacAddress;
    use crate::net::Ethernet;
    use crate::outer::{Outer, UdpPath};
    use crate::stage::testing;

    const UDP: u16 = dmsc_wire::UDP_PORT;

    fn packet(class: u8, ecn: Ecn) -> Vec<u8> {
        let (a, b) = (NameBuf::parse("/a"), NameBuf::parse("/b"));
        PacketBuilder::new(Kind::Request)
            .destination(a.expect("name").as_name())
            .source(b.expect("name").as_name())
            .class(Class(class))
            .ecn(ecn)
            .payload(b"payload")
            .to_vec()
            .expect("builds")
    }

    fn framed(local: &str, remote: &str, vlan: u16, class: u8, ecn: Ecn) -> PlainFrame {
        let outer = Outer::udp(
            MacAddress([2, 0, 0, 0, 0, 1]),
            vlan,
            UdpPath {
                local: local.parse().expect("address"),
                remote: remote.parse().expect("address"),
                source_port: None,
                destination_port: UDP,
                checksum: true,
            },
        );
        let mut frame = PlainFrame::new(&packet(class, ecn));
        let to = MacAddress([2, 0, 0, 0, 0, 2]);
        assert!(outer.write(&mut frame, to, 1, class, ecn.bits()));
        frame
    }

    /// Both checksums of a frame are right.
    fn is_sound(frame: &[u8]) {
        let ethernet = Ethernet::parse(frame).expect("ethernet");
        let packet = &frame[ethernet.length..];
        let ip = Ip::parse(packet).expect("ip, and its checksum");
        let udp = &packet[ip.header..];
        let pseudo = net::pseudo_header(ip.source, ip.destination, ip.protocol, ip.payload);
        assert_eq!(net::fold(net::sum(udp, pseudo)), 0, "UDP checksum");
    }

    #[test]
    fn a_packet_of_ours_has_the_class_of_its_header_and_is_marked_in_both() {
        let port = testing::port(0, &["10.0.0.1/24", "fd00::1/64"]);
        for (local, remote) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for vlan in [0, 9] {
                for class in 0..8 {
                    let mut frame = framed(local, remote, vlan, class, Ecn::Ect0);
                    let label = Label::of(frame.bytes(), &port, UDP);
                    assert_eq!(label.class, class);
                    assert!(label.mark(frame.bytes_mut()));
                    is_sound(frame.bytes());
                    let at = usize::from(label.dmsc);
                    let header = dmsc_wire::parse(&frame.bytes()[at..]).expect("valid");
                    assert_eq!((header.ecn, header.class.0), (Ecn::Ce, class));
                    let ip = Ip::parse(&frame.bytes()[usize::from(label.ip)..]).expect("ip");
                    assert_eq!(ip.ecn, 3);
                }
            }
        }
    }

    #[test]
    fn what_understands_no_marks_gets_none() {
        let port = testing::port(0, &["10.0.0.1/24"]);
        let mut frame = framed("10.0.0.1", "10.0.0.2", 0, 2, Ecn::NotEct);
        let before = frame.bytes().to_vec();
        assert!(!Label::of(&before, &port, UDP).mark(frame.bytes_mut()));
        assert_eq!(frame.bytes(), before);
    }

    #[test]
    fn bare_ethernet_and_neighbour_resolution() {
        let port = testing::port(0, &["10.0.0.1/24"]);
        let mut bare = vec![2; 12];
        bare.extend(dmsc_wire::ETHERTYPE.to_be_bytes());
        bare.extend(packet(4, Ecn::Ect1));
        let label = Label::of(&bare, &port, UDP);
        assert_eq!(label.class, 4);
        assert!(label.mark(&mut bare));
        assert_eq!(dmsc_wire::parse(&bare[14..]).expect("valid").ecn, Ecn::Ce);
        let mut arp = vec![0xff; 42];
        arp[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        assert_eq!(Label::of(&arp, &port, UDP).class, 7);
        assert_eq!(Label::of(&[0; 3], &port, UDP).class, 0);
    }

    #[test]
    fn whoever_is_passed_on_by_the_kernel_gets_no_strict_class_by_its_own_word() {
        let port = testing::port(0, &["10.0.0.1/24"]);
        // From the router itself: signalling with CS6. From elsewhere: the same, and a packet that looks like ours.
        let own = framed("10.0.0.1", "10.0.0.2", 0, 7, Ecn::Ect0);
        let mut tcp = own.bytes().to_vec();
        tcp[14 + 9] = 6;
        let checksum = net::be16(&tcp, 24);
        net::put16(&mut tcp, 24, adjust(checksum, 0x0011, 0x0006));
        let label = Label::of(&tcp, &port, UDP);
        assert_eq!((label.class, label.dmsc), (7, 0));
        assert!(label.mark(&mut tcp), "TCP understands marks, too");
        assert_eq!(Ip::parse(&tcp[14..]).expect("sound").ecn, 3);
        let plain = framed("10.0.0.1", "10.0.0.2", 0, 0, Ecn::NotEct);
        let mut tcp = plain.bytes().to_vec();
        tcp[14 + 9] = 6;
        let checksum = net::be16(&tcp, 24);
        net::put16(&mut tcp, 24, adjust(checksum, 0x0011, 0x0006));
        assert_eq!(Label::of(&tcp, &port, UDP).class, OWN);
        let passed_on = framed("10.9.9.9", "10.0.0.2", 0, 7, Ecn::Ect0);
        let label = Label::of(passed_on.bytes(), &port, UDP);
        assert_eq!((label.class, label.dmsc), (5, 0));
    }

    #[test]
    fn code_points_have_the_class_that_is_sent_with_them() {
        for (class, dscp) in DSCP.iter().enumerate() {
            assert_eq!(usize::from(by_dscp(*dscp)), class);
        }
        assert_eq!(by_dscp(56), 7, "CS7");
        assert_eq!(by_dscp(12), 1, "AF12 has the precedence of CS1");
    }
}
