//! Messages of the engine, and the same in protobuf. What breaks a limit ends the stream: no neighbour that works sends it.

use bytes::Bytes;
use dmsc_linkstate::message::{BUCKETS, Header};
use dmsc_linkstate::object::{MAX_BODY, MAX_CERTIFICATE};
use dmsc_linkstate::{Digest, Key, Kind, Message, Object, Sequence};
use dmsc_proto::v1::{self, neighbour_message::Message as Wire};
use dmsc_wire::NodeId;

/// Why a message is not taken.
pub type Reason = &'static str;

/// For the wire.
#[must_use]
pub fn to_wire(message: Message) -> v1::NeighbourMessage {
    let wire = match message {
        Message::Flood(objects) => Wire::Flood(v1::Flood {
            objects: objects.into_iter().map(object_to_wire).collect(),
        }),
        Message::Digest { digest, restoring } => Wire::Digest(v1::Digest {
            count: digest.count,
            buckets: digest.buckets.to_vec(),
            restoring,
        }),
        Message::Summary {
            bucket_mask,
            headers,
            from,
            to,
        } => Wire::Summary(v1::Summary {
            bucket_mask,
            headers: headers.into_iter().map(header).collect(),
            from: from.map(key_to_wire),
            to: to.map(key_to_wire),
        }),
        Message::Request(keys) => Wire::Request(v1::ObjectRequest {
            wanted: keys.into_iter().map(key_to_wire).collect(),
        }),
    };
    v1::NeighbourMessage {
        message: Some(wire),
    }
}

/// From the wire.
///
/// # Errors
/// What is wrong with it.
pub fn from_wire(message: v1::NeighbourMessage) -> Result<Message, Reason> {
    Ok(
        match message.message.ok_or("a message of an unknown kind")? {
            Wire::Hello(_) => return Err("a second hello"),
            Wire::Flood(flood) => Message::Flood(
                flood
                    .objects
                    .into_iter()
                    .map(object_from_wire)
                    .collect::<Result<_, _>>()?,
            ),
            Wire::Digest(digest) => {
                let buckets: [u64; BUCKETS] = digest
                    .buckets
                    .try_into()
                    .map_err(|_| "a digest that has not 64 buckets")?;
                Message::Digest {
                    digest: Digest {
                        count: digest.count,
                        buckets,
                    },
                    restoring: digest.restoring,
                }
            }
            Wire::Summary(summary) => Message::Summary {
                bucket_mask: summary.bucket_mask,
                headers: summary
                    .headers
                    .iter()
                    .map(|header| {
                        Ok(Header {
                            key: key(header)?,
                            sequence: Sequence(header.sequence),
                            tag: tag(&header.version_tag)?,
                        })
                    })
                    .collect::<Result<_, Reason>>()?,
                from: summary.from.as_ref().map(key).transpose()?,
                to: summary.to.as_ref().map(key).transpose()?,
            },
            Wire::Request(request) => {
                Message::Request(request.wanted.iter().map(key).collect::<Result<_, _>>()?)
            }
        },
    )
}

fn tag(bytes: &[u8]) -> Result<u128, Reason> {
    <[u8; 16]>::try_from(bytes)
        .map(u128::from_be_bytes)
        .map_err(|_| "a version tag of another length than 16 bytes")
}

fn header(header: Header) -> v1::ObjectHeader {
    v1::ObjectHeader {
        sequence: header.sequence.0,
        version_tag: header.tag.to_be_bytes().to_vec(),
        ..key_to_wire(header.key)
    }
}

fn key_to_wire(key: Key) -> v1::ObjectHeader {
    v1::ObjectHeader {
        kind: u32::from(key.kind.0),
        origin: key.origin.0,
        id: key.id,
        ..v1::ObjectHeader::default()
    }
}

fn key(header: &v1::ObjectHeader) -> Result<Key, Reason> {
    Ok(Key {
        kind: kind(header.kind)?,
        origin: NodeId(header.origin),
        id: header.id,
    })
}

fn kind(kind: u32) -> Result<Kind, Reason> {
    match u8::try_from(kind) {
        Ok(0) | Err(_) => Err("an object of a kind beyond 1 to 255"),
        Ok(kind) => Ok(Kind(kind)),
    }
}

fn object_to_wire(object: Object) -> v1::Object {
    v1::Object {
        kind: u32::from(object.key.kind.0),
        flags: u32::from(object.flags),
        origin: object.key.origin.0,
        id: object.key.id,
        sequence: object.sequence.0,
        lifetime_s: object.lifetime_s,
        area: object.area,
        originated_at_ms: object.originated_at_ms,
        body: object.body.to_vec(),
        signature: object.signature.to_vec(),
        certificate: object.certificate.to_vec(),
        age_s: object.age_s,
    }
}

fn object_from_wire(object: v1::Object) -> Result<Object, Reason> {
    if object.body.len() > MAX_BODY {
        return Err("an object with more than 65,536 bytes");
    }
    if object.certificate.len() > MAX_CERTIFICATE {
        return Err("a certificate with more than 4,096 bytes");
    }
    Ok(Object {
        key: Key {
            kind: kind(object.kind)?,
            origin: NodeId(object.origin),
            id: object.id,
        },
        flags: u8::try_from(object.flags).map_err(|_| "flags beyond 8 bits")?,
        sequence: Sequence(object.sequence),
        lifetime_s: object.lifetime_s,
        area: object.area,
        originated_at_ms: object.originated_at_ms,
        body: Bytes::from(object.body),
        signature: object
            .signature
            .try_into()
            .map_err(|_| "a signature that has not 64 bytes")?,
        certificate: Bytes::from(object.certificate),
        age_s: object.age_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        Object {
            key: Key {
                kind: Kind(200),
                origin: NodeId(7),
                id: 3,
            },
            flags: 0x81,
            sequence: Sequence(1 << 40),
            lifetime_s: 60,
            area: 2,
            originated_at_ms: 1,
            body: Bytes::from_static(b"body"),
            signature: [9; 64],
            certificate: Bytes::from_static(b"certificate"),
            age_s: 4,
        }
    }

    #[test]
    fn what_is_sent_is_what_comes() {
        let key = object().key;
        for message in [
            Message::Flood(vec![object()]),
            Message::Digest {
                digest: Digest {
                    count: 3,
                    buckets: [5; BUCKETS],
                },
                restoring: true,
            },
            Message::Summary {
                bucket_mask: 9,
                headers: vec![Header {
                    key,
                    sequence: Sequence(4),
                    tag: 7,
                }],
                from: Some(key),
                to: key.next(),
            },
            Message::Request(vec![key]),
        ] {
            assert_eq!(from_wire(to_wire(message.clone())), Ok(message));
        }
    }

    #[test]
    fn what_breaks_a_limit_is_not_taken() {
        let flood = |change: fn(&mut v1::Object)| {
            let mut wire = object_to_wire(object());
            change(&mut wire);
            from_wire(v1::NeighbourMessage {
                message: Some(Wire::Flood(v1::Flood {
                    objects: vec![wire],
                })),
            })
        };
        assert!(flood(|_| {}).is_ok());
        assert!(flood(|one| one.kind = 256).is_err());
        assert!(flood(|one| one.kind = 0).is_err());
        assert!(flood(|one| one.flags = 256).is_err());
        assert!(flood(|one| one.signature.truncate(63)).is_err());
        assert!(flood(|one| one.body = vec![0; MAX_BODY + 1]).is_err());
        assert!(flood(|one| one.certificate = vec![0; MAX_CERTIFICATE + 1]).is_err());
        assert!(from_wire(v1::NeighbourMessage { message: None }).is_err());
        assert!(
            from_wire(v1::NeighbourMessage {
                message: Some(Wire::Hello(Default::default()))
            })
            .is_err()
        );
        let digest = v1::Digest {
            count: 1,
            buckets: vec![0; 63],
            ..v1::Digest::default()
        };
        assert!(
            from_wire(v1::NeighbourMessage {
                message: Some(Wire::Digest(digest))
            })
            .is_err()
        );
    }
}
