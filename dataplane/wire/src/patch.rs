//! In-place edits of a packet that [`parse`](crate::parse) accepted: what gateways stamp and routers rewrite.
//!
//! Every function returns whether it wrote: `false` means that the slice is shorter than a fixed header (or that
//! a value does not fit its field) and nothing was changed. None of them changes what is valid, except that
//! clearing TELEMETRY on a request with RECORD does ([`record::erase`](crate::record::erase) it first).

use crate::FIXED_LEN;
use crate::ecn::Ecn;
use crate::flags::Flags;
use crate::header::at;
use crate::ids::{AttachmentId, Class, Domain, FlowLabel, NodeId, RequestId};

#[inline]
fn fixed(bytes: &mut [u8]) -> Option<&mut [u8; FIXED_LEN]> {
    bytes.first_chunk_mut::<FIXED_LEN>()
}

#[inline]
fn put<const N: usize>(fixed: &mut [u8; FIXED_LEN], at: usize, value: [u8; N]) {
    fixed[at..at + N].copy_from_slice(&value);
}

/// Sets the hop limit.
#[inline]
pub fn set_hop_limit(bytes: &mut [u8], hop_limit: u8) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    fixed[at::HOP_LIMIT] = hop_limit;
    true
}

/// Takes one hop and returns what is left; `None` if none was left to take: the packet ends here.
#[inline]
pub fn decrement_hop_limit(bytes: &mut [u8]) -> Option<u8> {
    let fixed = fixed(bytes)?;
    let left = fixed[at::HOP_LIMIT].checked_sub(1)?;
    fixed[at::HOP_LIMIT] = left;
    Some(left)
}

/// Sets destination gateway and attachment: the result of resolving a name.
#[inline]
pub fn set_destination(bytes: &mut [u8], gateway: NodeId, attachment: AttachmentId) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    put(fixed, at::DESTINATION_GATEWAY, gateway.0.to_be_bytes());
    put(
        fixed,
        at::DESTINATION_ATTACHMENT,
        attachment.0.to_be_bytes(),
    );
    true
}

/// Stamps domain, source gateway and source attachment: what a gateway does to everything from a pod.
#[inline]
pub fn set_source(
    bytes: &mut [u8],
    domain: Domain,
    gateway: NodeId,
    attachment: AttachmentId,
) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    put(fixed, at::DOMAIN, domain.0.to_be_bytes());
    put(fixed, at::SOURCE_GATEWAY, gateway.0.to_be_bytes());
    put(fixed, at::SOURCE_ATTACHMENT, attachment.0.to_be_bytes());
    true
}

/// Sets the domain alone.
#[inline]
pub fn set_domain(bytes: &mut [u8], domain: Domain) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    put(fixed, at::DOMAIN, domain.0.to_be_bytes());
    true
}

/// Says by which topology the packet goes, besides what its class says; all other flags stay.
#[inline(always)]
pub fn set_by_delay(bytes: &mut [u8], by_delay: bool) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    fixed[at::FLAGS] = Flags(fixed[at::FLAGS]).with_if(by_delay, Flags::BY_DELAY).0;
    true
}

/// Sets the whole flags byte; start from the header's flags to keep unknown bits.
#[inline]
pub fn set_flags(bytes: &mut [u8], flags: Flags) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    fixed[at::FLAGS] = flags.0;
    true
}

/// Sets class and ECN, keeping the reserved bits beside them; refuses a class above 7.
#[inline]
pub fn set_class_ecn(bytes: &mut [u8], class: Class, ecn: Ecn) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    if !class.is_valid() {
        return false;
    }
    fixed[at::CLASS_ECN] = class.0 << 5 | ecn.bits() << 3 | fixed[at::CLASS_ECN] & 0x07;
    true
}

/// Sets ECN alone.
#[inline]
pub fn set_ecn(bytes: &mut [u8], ecn: Ecn) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    fixed[at::CLASS_ECN] = fixed[at::CLASS_ECN] & !0x18 | ecn.bits() << 3;
    true
}

/// Sets the flow label.
#[inline]
pub fn set_flow_label(bytes: &mut [u8], flow_label: FlowLabel) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    put(fixed, at::FLOW_LABEL, flow_label.0.to_be_bytes());
    true
}

/// Sets the request id; for senders that reuse a packet as a template.
#[inline]
pub fn set_request_id(bytes: &mut [u8], request_id: RequestId) -> bool {
    let Some(fixed) = fixed(bytes) else {
        return false;
    };
    put(fixed, at::REQUEST_ID, request_id.0.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, NameBuf, PacketBuilder, parse};

    #[test]
    fn edits_are_what_the_parser_reads_back() {
        let (a, b) = (
            NameBuf::parse("/a").expect("a"),
            NameBuf::parse("/b").expect("b"),
        );
        let mut p = PacketBuilder::new(Kind::Request)
            .destination(a.as_name())
            .source(b.as_name())
            .to_vec()
            .expect("builds");
        p[3] = 0x05;
        let mut want = parse(&p).expect("valid");
        assert!(set_hop_limit(&mut p, 9));
        assert_eq!(decrement_hop_limit(&mut p), Some(8));
        assert!(set_destination(
            &mut p,
            NodeId(0x0102_0304),
            AttachmentId(0x0506)
        ));
        assert!(set_source(&mut p, Domain(7), NodeId(8), AttachmentId(9)));
        assert!(set_flags(&mut p, Flags::REBOUND | Flags(1)));
        assert!(set_class_ecn(&mut p, Class(6), Ecn::Ect0));
        assert!(!set_class_ecn(&mut p, Class(8), Ecn::Ect0));
        assert!(set_ecn(&mut p, Ecn::Ce));
        assert!(set_flow_label(&mut p, FlowLabel(10)));
        assert!(set_request_id(&mut p, RequestId(11)));
        assert_eq!(p[3] & 7, 5, "reserved bits stay");
        want.hop_limit = 8;
        want.destination_gateway = NodeId(0x0102_0304);
        want.destination_attachment = AttachmentId(0x0506);
        (want.domain, want.source_gateway, want.source_attachment) =
            (Domain(7), NodeId(8), AttachmentId(9));
        want.flags = Flags(0x11);
        (want.class, want.ecn) = (Class(6), Ecn::Ce);
        (want.flow_label, want.request_id) = (FlowLabel(10), RequestId(11));
        assert_eq!(parse(&p), Ok(want));
        assert!(set_domain(&mut p, Domain(12)));
        assert_eq!(parse(&p).expect("valid").domain, Domain(12));
        assert!(set_hop_limit(&mut p, 0));
        assert_eq!(decrement_hop_limit(&mut p), None);
        assert!(!set_hop_limit(&mut p[..39], 1));
    }
}
