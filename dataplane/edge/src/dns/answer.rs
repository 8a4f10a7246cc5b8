//! From the bytes of a query to the bytes of its answer; no socket.

use std::sync::Arc;

use dmsc_http::host::{HostError, name_of_host_under};
use simple_dns::rdata::{A, OPT, RData};
use simple_dns::{
    CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};

use super::Table;

/// How long a program may keep an address, s: short, so that few connect to one that went to another name.
const TTL: u32 = 5;
/// What a datagram may carry without fragments (DNS flag day 2020); answers are far smaller.
const UDP_SIZE: u16 = 1_232;

/// What is answered for: names below a suffix.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Without dots at its ends, such as `dmsc`.
    pub suffix: String,
    /// Where addresses come from.
    pub names: Arc<Table>,
}

impl Zone {
    /// The answer to a query. `None`: it is none, or not to be understood so far that an answer would find its asker.
    pub fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let packet = match Packet::parse(query) {
            Ok(packet) => packet,
            Err(_) => return refuse_unread(query),
        };
        if packet.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let mut reply = Packet::new_reply(packet.id());
        *reply.opcode_mut() = packet.opcode();
        // Some stub resolvers take nothing from a server that says it only knows its own.
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        if packet.opt().is_some() {
            *reply.opt_mut() = Some(OPT {
                opt_codes: Vec::new(),
                udp_packet_size: UDP_SIZE,
                version: 0,
            });
        }
        *reply.rcode_mut() = self.fill(&packet, &mut reply);
        reply.build_bytes_vec_compressed().ok()
    }

    fn fill<'a>(&self, packet: &Packet<'a>, reply: &mut Packet<'a>) -> RCODE {
        if packet.opcode() != OPCODE::StandardQuery {
            return RCODE::NotImplemented;
        }
        let [question] = packet.questions.as_slice() else {
            return RCODE::FormatError;
        };
        reply.questions.push(question.clone());
        if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
            return RCODE::Refused;
        }
        self.look_up(question, reply)
    }

    fn look_up<'a>(&self, question: &Question<'a>, reply: &mut Packet<'a>) -> RCODE {
        let host = question.qname.to_string();
        // The suffix itself has nothing, but it is ours.
        if host.eq_ignore_ascii_case(&self.suffix) {
            reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
            return RCODE::NoError;
        }
        let name = match name_of_host_under(&host, &self.suffix) {
            Ok(name) => name,
            Err(HostError::Suffix { .. } | HostError::Missing { .. }) => return RCODE::Refused,
            Err(HostError::Label { .. } | HostError::Name(_)) => return RCODE::ServerFailure,
        };
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        if matches!(question.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY) {
            let address = self.names.address_of(&name).to_bits();
            reply.answers.push(ResourceRecord::new(
                question.qname.clone(),
                CLASS::IN,
                TTL,
                RData::A(A { address }),
            ));
        }
        RCODE::NoError
    }
}

/// A query that cannot be read to its end is told so, if its head is whole and says that it is one.
fn refuse_unread(query: &[u8]) -> Option<Vec<u8>> {
    let head = query.first_chunk::<12>()?;
    let is_response = head[2] & 0x80 != 0;
    if is_response {
        return None;
    }
    let mut reply = Packet::new_reply(u16::from_be_bytes([head[0], head[1]]));
    *reply.rcode_mut() = RCODE::FormatError;
    reply.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_wire::NameBuf;
    use simple_dns::Name;

    fn zone() -> Zone {
        let range = crate::config::Range {
            network: [198, 18, 0, 0].into(),
            length: 16,
        };
        Zone {
            suffix: "dmsc".into(),
            names: Arc::new(Table::over(range)),
        }
    }

    fn query(host: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(77);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let question = Question::new(
            Name::new(host).unwrap(),
            kind.into(),
            CLASS::IN.into(),
            false,
        );
        packet.questions.push(question);
        packet.build_bytes_vec().unwrap()
    }

    fn ask(zone: &Zone, host: &str, kind: TYPE) -> (RCODE, Option<u32>) {
        let answer = zone.answer(&query(host, kind)).unwrap();
        let reply = Packet::parse(&answer).unwrap();
        assert_eq!(reply.id(), 77);
        assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        let address = reply.answers.first().map(|record| match &record.rdata {
            RData::A(a) => a.address,
            other => panic!("{other:?}"),
        });
        (reply.rcode(), address)
    }

    #[test]
    fn names_have_addresses_and_nothing_else() {
        let zone = zone();
        let (code, address) = ask(&zone, "Cart.Shop.dmsc", TYPE::A);
        assert_eq!(code, RCODE::NoError);
        let name = NameBuf::parse("/shop/cart").unwrap();
        assert_eq!(zone.names.name_of(address.unwrap().into()), Some(name));
        for kind in [TYPE::AAAA, TYPE::MX, TYPE::TXT, TYPE::HTTPS] {
            assert_eq!(ask(&zone, "cart.shop.dmsc", kind), (RCODE::NoError, None));
        }
        assert_eq!(ask(&zone, "dmsc", TYPE::SOA), (RCODE::NoError, None));
    }

    #[test]
    fn what_is_not_ours_is_refused_and_what_is_no_name_fails() {
        let zone = zone();
        assert_eq!(ask(&zone, "example.org", TYPE::A).0, RCODE::Refused);
        assert_eq!(ask(&zone, "xdmsc", TYPE::A).0, RCODE::Refused);
        let deep = format!("{}dmsc", "a.".repeat(17));
        assert_eq!(ask(&zone, &deep, TYPE::A).0, RCODE::ServerFailure);
        assert!(zone.names.dump().is_empty());
    }

    #[test]
    fn bad_queries_are_told_or_dropped() {
        let zone = zone();
        let good = query("a.dmsc", TYPE::A);
        assert_eq!(zone.answer(&good[..7]), None);
        let cut = zone.answer(&good[..good.len() - 3]).unwrap();
        assert_eq!(Packet::parse(&cut).unwrap().rcode(), RCODE::FormatError);
        let answer = zone.answer(&good).unwrap();
        assert_eq!(zone.answer(&answer), None, "an answer is no query");
        let mut update = good.clone();
        update[2] = 5 << 3;
        let refused = zone.answer(&update).unwrap();
        assert_eq!(
            Packet::parse(&refused).unwrap().rcode(),
            RCODE::NotImplemented
        );
        let mut chaos = good.clone();
        let at = chaos.len() - 1;
        chaos[at] = 3;
        let refused = zone.answer(&chaos).unwrap();
        assert_eq!(Packet::parse(&refused).unwrap().rcode(), RCODE::Refused);
    }

    #[test]
    fn nothing_that_comes_makes_it_panic() {
        let zone = zone();
        let good = query("cart.shop.dmsc", TYPE::A);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                zone.answer(&bad);
                zone.answer(&bad[..at]);
            }
        }
    }
}
