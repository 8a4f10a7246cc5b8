//! Every vector, in the order of the file, and what they are made with.

mod errors;
mod headers;
mod hellos;
mod names;
mod options;
mod requests;

use dmsc_wire::*;

use super::{Case, Expected};

/// Collects cases; every builder call here is one that succeeds.
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &'static str, bytes: Vec<u8>, expected: Expected) {
        self.0.push(Case {
            name,
            bytes,
            expected,
        });
    }

    fn valid(&mut self, name: &'static str, packet: PacketBuilder<'_>) -> Vec<u8> {
        let bytes = packet.to_vec().expect(name);
        self.add(name, bytes.clone(), Expected::Valid);
        bytes
    }

    /// `base` with bytes overwritten at offsets.
    fn accepted(&mut self, name: &'static str, base: &[u8], changes: &[(usize, &[u8])]) {
        self.add(name, changed(base, changes), Expected::Accepted);
    }

    fn invalid(
        &mut self,
        name: &'static str,
        reason: &'static str,
        base: &[u8],
        changes: &[(usize, &[u8])],
    ) {
        self.add(name, changed(base, changes), Expected::Invalid(reason));
    }
}

fn changed(base: &[u8], changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for &(at, value) in changes {
        bytes[at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

/// `/a` to `/b` with raw options behind the names (44 bytes, so they start there) and a payload of two bytes.
fn with_options(kind: Kind, flags: Flags, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x10 | kind.code(), flags.0, 64, 0];
    bytes.extend(((44 + options.len()) as u16).to_be_bytes());
    bytes.extend([0, 2]);
    bytes.resize(36, 0);
    bytes.extend([2, 2, 0, 0, 1, b'a', 1, b'b']);
    bytes.extend(options);
    bytes.extend(b"hi");
    bytes
}

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect(text)
}

/// Every vector, in the order of the file.
pub fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    requests::requests(&mut cases);
    options::options(&mut cases);
    options::bad_options(&mut cases);
    headers::bad_headers(&mut cases);
    names::bad_names(&mut cases);
    errors::errors(&mut cases);
    hellos::hellos(&mut cases);
    hellos::probes(&mut cases);
    cases.0
}

fn full<'a>(kind: Kind, destination: &'a NameBuf, source: &'a NameBuf) -> PacketBuilder<'a> {
    PacketBuilder::new(kind)
        .destination(destination.as_name())
        .source(source.as_name())
        .domain(Domain(0x0102_0304))
        .flow_label(FlowLabel(0xfeed_beef))
        .request_id(RequestId(0x1122_3344_5566_7788))
        .source_gateway(NodeId(1))
        .destination_gateway(NodeId(0x8000_0004))
        .source_attachment(AttachmentId(7))
        .destination_attachment(AttachmentId(65535))
}
