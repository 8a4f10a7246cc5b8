//! One line about one Ethernet frame: DMSC in full, everything else by its protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dmsc_wire::{Body, Flags, Message};
use serde::Serialize;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88A8;
const ETHERTYPE_IPV6: u16 = 0x86DD;

/// What is known about a frame, in JSON.
#[derive(Debug, PartialEq, Serialize)]
pub struct FrameView {
    /// "dmsc", "dmsc-invalid", "arp", "ipv4", "ipv6" or "other".
    pub protocol: &'static str,
    /// VLAN tag, outermost.
    pub vlan: Option<u16>,
    /// Fields of a valid DMSC packet.
    pub dmsc: Option<DmscView>,
    /// Everything in one line.
    pub summary: String,
}

/// The header of a DMSC packet in JSON.
#[derive(Debug, PartialEq, Serialize)]
pub struct DmscView {
    kind: String,
    flags: String,
    hop_limit: u8,
    class: u8,
    domain: u32,
    flow_label: u32,
    /// Hexadecimal: 64 bits do not fit a JSON number.
    request_id: String,
    source_gateway: u32,
    source_attachment: u16,
    source_name: Option<String>,
    destination_gateway: u32,
    destination_attachment: u16,
    destination_name: Option<String>,
    header_bytes: u16,
    payload_bytes: u16,
}

/// Bytes that are read from the front; `None` where they end.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

impl FrameView {
    /// Looks into `frame`; `udp_port` is the one DMSC uses in this network.
    pub fn new(frame: &[u8], udp_port: u16) -> Self {
        let mut view = Self {
            protocol: "other",
            vlan: None,
            dmsc: None,
            summary: String::new(),
        };
        if view.ethernet(Reader(frame), udp_port).is_none() {
            let part = if view.summary.is_empty() {
                "Ethernet"
            } else {
                view.summary.as_str()
            };
            view.summary = format!("{part}: cut short");
        }
        if let Some(vlan) = view.vlan {
            view.summary = format!("vlan {vlan}  {}", view.summary);
        }
        view
    }

    fn ethernet(&mut self, mut reader: Reader<'_>, udp_port: u16) -> Option<()> {
        let destination = mac(reader.array()?);
        let source = mac(reader.array()?);
        let mut ethertype = reader.u16()?;
        while matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            let tag = reader.u16()? & 0x0FFF;
            self.vlan.get_or_insert(tag);
            ethertype = reader.u16()?;
        }
        match ethertype {
            dmsc_wire::ETHERTYPE => self.dmsc(reader.0, &format!("{source} > {destination}")),
            ETHERTYPE_ARP => self.arp(reader)?,
            ETHERTYPE_IPV4 => self.ipv4(reader, udp_port)?,
            ETHERTYPE_IPV6 => self.ipv6(reader, udp_port)?,
            other => {
                self.summary = format!("{source} > {destination}  EtherType 0x{other:04x}");
            }
        }
        Some(())
    }

    fn arp(&mut self, mut reader: Reader<'_>) -> Option<()> {
        self.protocol = "arp";
        self.summary = "ARP".to_owned();
        reader.take(6)?;
        let operation = reader.u16()?;
        let sender_mac = mac(reader.array()?);
        let sender = Ipv4Addr::from(reader.array::<4>()?);
        reader.take(6)?;
        let target = Ipv4Addr::from(reader.array::<4>()?);
        self.summary = match operation {
            1 => format!("ARP who has {target}? tell {sender}"),
            2 => format!("ARP {sender} is at {sender_mac}"),
            other => format!("ARP operation {other}"),
        };
        Some(())
    }

    fn ipv4(&mut self, mut reader: Reader<'_>, udp_port: u16) -> Option<()> {
        self.protocol = "ipv4";
        self.summary = "IPv4".to_owned();
        let header_length = usize::from(reader.u8()? & 0x0F) * 4;
        reader.take(5)?;
        let fragment = reader.u16()?;
        reader.take(1)?;
        let protocol = reader.u8()?;
        reader.take(2)?;
        let source = IpAddr::from(reader.array::<4>()?);
        let destination = IpAddr::from(reader.array::<4>()?);
        reader.take(header_length.checked_sub(20)?)?;
        // More fragments, or an offset.
        if fragment & 0x3FFF != 0 {
            self.summary = format!("{source} > {destination}  IPv4 fragment");
            return Some(());
        }
        self.transport(reader, protocol, source, destination, udp_port)
    }

    fn ipv6(&mut self, mut reader: Reader<'_>, udp_port: u16) -> Option<()> {
        self.protocol = "ipv6";
        self.summary = "IPv6".to_owned();
        reader.take(6)?;
        let next_header = reader.u8()?;
        reader.take(1)?;
        let source = IpAddr::from(Ipv6Addr::from(reader.array::<16>()?));
        let destination = IpAddr::from(Ipv6Addr::from(reader.array::<16>()?));
        self.transport(reader, next_header, source, destination, udp_port)
    }

    fn transport(
        &mut self,
        mut reader: Reader<'_>,
        protocol: u8,
        source: IpAddr,
        destination: IpAddr,
        udp_port: u16,
    ) -> Option<()> {
        let ends = format!("{source} > {destination}");
        let name = match protocol {
            1 => "ICMP",
            6 => "TCP",
            17 => "UDP",
            58 => "ICMPv6",
            other => {
                self.summary = format!("{ends}  IP protocol {other}");
                return Some(());
            }
        };
        self.summary = format!("{ends}  {name}");
        match protocol {
            6 | 17 => {
                let from = reader.u16()?;
                let to = reader.u16()?;
                let ends = format!(
                    "{} > {}",
                    std::net::SocketAddr::new(source, from),
                    std::net::SocketAddr::new(destination, to)
                );
                self.summary = format!("{ends}  {name}");
                if protocol == 17 && (to == udp_port || from == udp_port) {
                    let length = usize::from(reader.u16()?).saturating_sub(8);
                    reader.take(2)?;
                    // Ethernet pads short frames; the UDP length says where the packet ends.
                    let packet = &reader.0[..length.min(reader.0.len())];
                    self.dmsc(packet, &ends);
                }
            }
            _ => {
                let kind = reader.u8()?;
                self.summary = format!("{ends}  {name} type {kind}");
            }
        }
        Some(())
    }

    fn dmsc(&mut self, packet: &[u8], ends: &str) {
        match Message::parse(packet) {
            Ok(message) => {
                self.protocol = "dmsc";
                let view = DmscView::new(&message, packet);
                self.summary = format!("{ends}  {}", view.summary(&message.body));
                self.dmsc = Some(view);
            }
            Err(error) => {
                self.protocol = "dmsc-invalid";
                self.summary = format!("{ends}  DMSC invalid ({}): {error}", error.reason());
            }
        }
    }
}

impl DmscView {
    fn new(message: &Message<'_>, packet: &[u8]) -> Self {
        let header = &message.header;
        Self {
            kind: header.kind.to_string(),
            flags: if header.flags == Flags::NONE {
                String::new()
            } else {
                header.flags.to_string()
            },
            hop_limit: header.hop_limit,
            class: header.class.0,
            domain: header.domain.0,
            flow_label: header.flow_label.0,
            request_id: format!("{:016x}", header.request_id.0),
            source_gateway: header.source_gateway.0,
            source_attachment: header.source_attachment.0,
            source_name: header.source_name(packet).map(|name| name.to_string()),
            destination_gateway: header.destination_gateway.0,
            destination_attachment: header.destination_attachment.0,
            destination_name: header.destination_name(packet).map(|name| name.to_string()),
            header_bytes: header.header_len,
            payload_bytes: header.payload_len,
        }
    }

    fn summary(&self, body: &Body<'_>) -> String {
        let end = |name: &Option<String>, gateway: u32, attachment: u16| {
            let name = name.as_deref().unwrap_or("-");
            match (gateway, attachment) {
                (0, _) => name.to_owned(),
                (gateway, 0) => format!("{name}@{gateway}"),
                (gateway, attachment) => format!("{name}@{gateway}:{attachment}"),
            }
        };
        let flags = match self.flags.as_str() {
            "" => String::new(),
            flags => format!(" [{flags}]"),
        };
        match body {
            Body::Hello(hello) => format!(
                "DMSC hello node {} port {} seq {} {:?}",
                hello.node, hello.port, hello.sequence, hello.state
            ),
            Body::Probe(probe) if self.source_name.is_none() => {
                format!("DMSC probe id {}", probe.id)
            }
            _ => {
                let what = match body {
                    Body::Error(error) => format!(" {:?} from node {}", error.code, error.node),
                    Body::Probe(probe) if probe.is_question() => " question".to_owned(),
                    Body::Probe(_) => " answer".to_owned(),
                    _ => String::new(),
                };
                format!(
                    "DMSC {}{what} {} > {}{flags} dom {} flow 0x{:x} id {} hops {} len {}+{}",
                    self.kind,
                    end(
                        &self.source_name,
                        self.source_gateway,
                        self.source_attachment
                    ),
                    end(
                        &self.destination_name,
                        self.destination_gateway,
                        self.destination_attachment
                    ),
                    self.domain,
                    self.flow_label,
                    self.request_id,
                    self.hop_limit,
                    self.header_bytes,
                    self.payload_bytes
                )
            }
        }
    }
}

fn mac(bytes: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_wire::{Kind, NameBuf, PacketBuilder};

    fn packet() -> Vec<u8> {
        let (b, a) = (
            NameBuf::parse("/shop/b").expect("a name"),
            NameBuf::parse("/shop/a").expect("a name"),
        );
        PacketBuilder::new(Kind::Request)
            .destination(b.as_name())
            .source(a.as_name())
            .payload(b"hello")
            .to_vec()
            .expect("a packet")
    }

    fn ethernet(ethertype: u16, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype.to_be_bytes());
        frame.extend_from_slice(rest);
        frame
    }

    fn udp4(port: u16, payload: &[u8]) -> Vec<u8> {
        let udp = payload.len() as u16 + 8;
        let mut ip = vec![0x45, 0];
        ip.extend((udp + 20).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 1, 0, 10, 0, 1, 1]);
        ip.extend(40_000u16.to_be_bytes());
        ip.extend(port.to_be_bytes());
        ip.extend(udp.to_be_bytes());
        ip.extend([0, 0]);
        ip.extend_from_slice(payload);
        ip
    }

    #[test]
    fn dmsc_in_udp() {
        let mut frame = ethernet(ETHERTYPE_IPV4, &udp4(35029, &packet()));
        frame.extend([0; 9]);
        let view = FrameView::new(&frame, 35029);
        assert_eq!(view.protocol, "dmsc", "{}", view.summary);
        assert!(
            view.summary
                .starts_with("10.0.1.0:40000 > 10.0.1.1:35029  DMSC request /shop/a > /shop/b"),
            "{}",
            view.summary
        );
        let dmsc = view.dmsc.expect("fields");
        assert_eq!(dmsc.destination_name.as_deref(), Some("/shop/b"));
        assert_eq!(dmsc.payload_bytes, 5);
        let other = FrameView::new(&frame, 9);
        assert_eq!(other.protocol, "ipv4");
    }

    #[test]
    fn dmsc_on_tagged_ethernet() {
        let mut rest = vec![0x00, 0x07];
        rest.extend(dmsc_wire::ETHERTYPE.to_be_bytes());
        rest.extend(packet());
        let view = FrameView::new(&ethernet(ETHERTYPE_VLAN, &rest), 35029);
        assert_eq!((view.protocol, view.vlan), ("dmsc", Some(7)));
        assert!(
            view.summary.starts_with("vlan 7  02:00:00:00:00:02 > "),
            "{}",
            view.summary
        );
    }

    #[test]
    fn invalid_packets_say_why() {
        let mut bytes = packet();
        bytes[0] = 0x90;
        let view = FrameView::new(&ethernet(dmsc_wire::ETHERTYPE, &bytes), 35029);
        assert_eq!(view.protocol, "dmsc-invalid");
        assert!(view.summary.contains("bad-version"), "{}", view.summary);
    }

    #[test]
    fn the_rest_by_protocol() {
        let arp = [
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 1, 1,
        ];
        let view = FrameView::new(&ethernet(ETHERTYPE_ARP, &arp), 35029);
        assert_eq!(view.summary, "ARP who has 10.0.1.1? tell 10.0.1.0");
        let view = FrameView::new(&ethernet(0x1234, &[]), 35029);
        assert!(view.summary.ends_with("EtherType 0x1234"));
    }

    #[test]
    fn every_cut_is_survived() {
        let frames = [
            ethernet(ETHERTYPE_IPV4, &udp4(35029, &packet())),
            ethernet(dmsc_wire::ETHERTYPE, &packet()),
            ethernet(ETHERTYPE_ARP, &[0; 28]),
            ethernet(ETHERTYPE_IPV6, &[0x11; 60]),
        ];
        for frame in frames {
            for cut in 0..frame.len() {
                assert!(!FrameView::new(&frame[..cut], 35029).summary.is_empty());
            }
        }
    }
}
