//! A neighbour that says anything, with signatures that all hold: no panic, and the database stays within its limits.
//!
//! The input is a list of records: what (8) | length (16) | bytes.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use dmsc_linkstate::event::LinkSettings;
use dmsc_linkstate::trust::{Authorisation, Grant, NodeKey, PublicKey, Revocation, RevokedSubject, RootRevocation, TrustError};
use dmsc_linkstate::{AdjacencyId, Engine, EngineConfig, Event, Header, Key, Kind, Message, NodeId, Now, Object, Sequence, SessionId, Signer, Trust};
use dmsc_wire::{Domain, NameBuf};
use libfuzzer_sys::fuzz_target;

struct Anything;

impl Signer for Anything {
    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }
    fn certificate(&self) -> Bytes {
        Bytes::from_static(b"certificate")
    }
}

impl Trust for Anything {
    fn node_key(&mut self, origin: NodeId, _: &[u8], _: Now) -> Result<NodeKey, TrustError> {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&origin.0.to_be_bytes());
        Ok(NodeKey { key: PublicKey(key), not_after_s: u64::MAX })
    }
    fn verify(&mut self, _: &PublicKey, _: &[u8], signature: &[u8; 64]) -> bool {
        signature[0] == 0
    }
    fn authorisation(&mut self, body: &[u8], now: Now) -> Result<Authorisation, TrustError> {
        let (gateway, name) = body.split_first().ok_or(TrustError::Malformed("empty"))?;
        Ok(Authorisation {
            authority: "fuzz".into(),
            authority_key: [u8::try_from(body.len() % 3).unwrap_or(0); 32],
            authority_issued_s: now.wall.as_secs() - 10,
            serial: 1,
            domain: Domain(1),
            gateway: NodeId(u32::from(*gateway)),
            identity: String::new(),
            issued_at_s: now.wall.as_secs(),
            not_after_s: now.wall.as_secs() + 100,
            stale_s: 100,
            grants: vec![Grant {
                name: NameBuf::from_bytes(name).ok().ok_or(TrustError::Malformed("name"))?,
                exact: false,
                maximum_depth: 16,
            }],
            fragment: 1,
            fragments: 1,
        })
    }
    fn revocation(&mut self, body: &[u8], now: Now) -> Result<Revocation, TrustError> {
        Ok(Revocation {
            authority: "fuzz".into(),
            serial: body.first().copied().unwrap_or(0).into(),
            domain: body.first().map(|first| Domain(u32::from(first % 2))),
            name: NameBuf::from_bytes(body).ok(),
            gateway: None,
            identity: None,
            issued_before_s: now.wall.as_secs(),
            until_s: now.wall.as_secs() + 100,
            subtrees: Vec::new(),
            domains: Vec::new(),
            reason: String::new(),
        })
    }
    fn root_revocation(&mut self, body: &[u8], now: Now) -> Result<RootRevocation, TrustError> {
        Ok(RootRevocation {
            subject: match body.first().copied().unwrap_or(9) {
                7 => RevokedSubject::Authority("fuzz".into()),
                8 => RevokedSubject::Keys(vec![[0; 32], [1; 32]]),
                node => RevokedSubject::Node(NodeId(node.into())),
            },
            issued_before_s: now.wall.as_secs(),
            until_s: now.wall.as_secs() + 100,
            reason: String::new(),
        })
    }
    fn revoke(&mut self, _: &RootRevocation) {}
}

fn object(what: u8, bytes: &[u8], wall_ms: u64) -> Option<Object> {
    let (head, body) = bytes.split_at_checked(6)?;
    let mut signature = [0; 64];
    signature[0] = head[0] & 1;
    Some(Object {
        key: Key { kind: Kind(what % 8), origin: NodeId(u32::from(head[1] % 4)), id: u64::from(head[2] % 4) },
        flags: head[3] & 3,
        sequence: Sequence(u64::from(head[4])),
        lifetime_s: u32::from(head[5]) * 100,
        area: u32::from(head[0] >> 7),
        originated_at_ms: wall_ms,
        body: Bytes::copy_from_slice(body),
        signature,
        certificate: Bytes::from_static(b"certificate"),
        age_s: 0,
    })
}

fuzz_target!(|data: &[u8]| {
    let mut now = Now { mono: Duration::from_secs(1), wall: Duration::from_secs(1_700_000_000) };
    let mut engine = Engine::new(EngineConfig::new(NodeId(1), 1), Box::new(Anything), Box::new(Anything), now);
    let link = AdjacencyId(1);
    let session = SessionId(1);
    let peer = NodeId(2);
    engine.handle(now, Event::LinkConfigured(LinkSettings { id: link, peer, metric: 1, delay_us: 1, capacity_kbps: 0 }));
    engine.handle(now, Event::LinkHello { id: link, up: true });
    engine.handle(now, Event::SessionUp { session, link, peer, peer_link: link });
    let mut rest = data;
    while let Some((head, tail)) = rest.split_at_checked(3) {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]])).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        rest = tail;
        let wall_ms = u64::try_from(now.wall.as_millis()).unwrap_or(0);
        let event = match head[0] % 8 {
            0 => Event::Tick,
            1 => Event::SessionUp { session, link, peer, peer_link: link },
            2 => Event::SessionDown(session),
            3 => {
                let mask = bytes.iter().fold(0u64, |mask, byte| mask.rotate_left(8) ^ u64::from(*byte));
                let key = |byte: u8| Key { kind: Kind(byte % 8), origin: NodeId(u32::from(byte >> 6)), id: 1 };
                let headers = bytes.chunks(2).map(|b| Header { key: key(b[0]), sequence: Sequence(b.len() as u64), tag: u128::from(b[0]) });
                let bound = |at: usize| bytes.get(at).copied().filter(|byte| byte % 2 == 0).map(key);
                let message = Message::Summary { bucket_mask: mask, headers: headers.collect(), from: bound(0), to: bound(1) };
                Event::Received { session, message }
            }
            4 => {
                let mut digest = dmsc_linkstate::Digest::default();
                for (bucket, byte) in digest.buckets.iter_mut().zip(bytes) {
                    *bucket = u64::from(*byte);
                }
                Event::Received { session, message: Message::Digest { digest, restoring: bytes.len() % 2 == 1 } }
            }
            _ => match object(head[0] >> 3, bytes, wall_ms) {
                Some(object) => Event::Received { session, message: Message::Flood(vec![object]) },
                None => Event::Tick,
            },
        };
        now.mono += Duration::from_millis(u64::from(head[0]));
        now.wall += Duration::from_millis(u64::from(head[0]));
        engine.handle(now, event);
        while engine.next_message(now, session).is_some() {}
    }
    assert!(engine.entries(now).len() <= 1_024);
});
