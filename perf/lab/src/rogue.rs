//! A router that lies, for the demo: it speaks to a neighbour with a genuine node certificate and the real code, and floods what it must not.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use dmsc_linkstate::object::FLAG_PURGE;
use dmsc_linkstate::{Key, Kind, NodeId, Object, Sequence};
use dmsc_node::peer::convert::to_wire;
use dmsc_proto::v1;
use dmsc_proto::v1::link_state_client::LinkStateClient;
use dmsc_proto::v1::neighbour_message::Message;
use dmsc_spa::credentials::{Credentials, SigningKey};
use dmsc_spa::statement;
use dmsc_wire::NameBuf;
use prost::Message as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::operator::Header;

/// As whom it speaks, and to whom.
#[derive(Debug, Clone)]
pub struct Rogue {
    /// Node id of the certificate.
    pub node: u32,
    /// Its adjacency to the neighbour.
    pub adjacency: u16,
    /// The neighbour.
    pub peer: u32,
    /// The same adjacency there.
    pub peer_adjacency: u16,
    /// Own address.
    pub local: IpAddr,
    /// The neighbour's.
    pub remote: IpAddr,
    /// Folder.
    pub credentials: PathBuf,
}

/// What it floods.
#[derive(Debug, Clone)]
pub struct Lies {
    /// A prefix that nobody authorised it to announce.
    pub prefix: NameBuf,
    /// Whose objects it replaces.
    pub victim: u32,
    /// These objects.
    pub stolen: Vec<Header>,
    /// The victim's certificate, PEM: it comes with every object of the victim, so everybody has it.
    pub victim_certificate: Vec<u8>,
}

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// As whom.
    pub node: u32,
    /// Objects flooded.
    pub flooded: u64,
    /// Of them those that no honest router can take for genuine: each must be counted as refused.
    pub forged: u64,
}

/// Objects of a liar.
struct Forge {
    node: u32,
    key: SigningKey,
    certificate: Bytes,
    now_ms: u64,
}

impl Forge {
    fn object(&self, key: Key, sequence: u64, flags: u8, body: Vec<u8>) -> Object {
        let mut object = Object {
            key,
            flags,
            sequence: Sequence(sequence),
            lifetime_s: 3_600,
            area: 0,
            originated_at_ms: self.now_ms,
            body: Bytes::from(body),
            signature: [0; 64],
            certificate: self.certificate.clone(),
            age_s: 0,
        };
        object.signature = self.key.sign(&object.signed_bytes());
        object
    }

    /// Its own prefix object, properly signed, for a prefix without authorisation.
    fn unauthorised(&self, name: &NameBuf) -> Object {
        let body = v1::PrefixBody {
            prefixes: vec![v1::AnnouncedPrefix {
                domain: 1,
                name: name.as_bytes().to_vec(),
                announced_at_ms: self.now_ms,
                ..v1::AnnouncedPrefix::default()
            }],
        };
        self.object(
            self.key_of(Kind::PREFIX, 7),
            self.sequence(),
            0,
            body.encode_to_vec(),
        )
    }

    /// An authorisation for that prefix by an authority that the liar made itself.
    fn self_authorised(&self, name: &NameBuf) -> Object {
        let now_s = self.now_ms / 1_000;
        let certificate = v1::AuthorityCertificate {
            authority: "spa1".into(),
            public_key: self.key.public_key().to_vec(),
            subtrees: vec![Vec::new()],
            not_before_s: now_s - 60,
            not_after_s: now_s + 3_600,
            serial: 1,
            ..v1::AuthorityCertificate::default()
        }
        .encode_to_vec();
        let certificate = v1::SignedAuthorityCertificate {
            signature: self.sign(statement::AUTHORITY_CERTIFICATE, &certificate),
            statement: certificate,
        };
        let authorisation = v1::Authorisation {
            authority: "spa1".into(),
            serial: self.now_ms,
            domain: 1,
            gateway: self.node,
            identity: "pod2/thief".into(),
            issued_at_s: now_s,
            not_after_s: now_s + 3_600,
            stale_s: 3_600,
            grants: vec![v1::Grant {
                name: name.as_bytes().to_vec(),
                ..v1::Grant::default()
            }],
            fragment: 1,
            fragments: 1,
            ..v1::Authorisation::default()
        }
        .encode_to_vec();
        let body = v1::SignedAuthorisation {
            signature: self.sign(statement::AUTHORISATION, &authorisation),
            statement: authorisation,
            authority_certificate: certificate.encode_to_vec(),
        };
        self.object(
            self.key_of(Kind::AUTHORISATION, 1),
            self.sequence(),
            0,
            body.encode_to_vec(),
        )
    }

    fn sign(&self, context: &[u8], statement: &[u8]) -> Vec<u8> {
        self.key.sign(&[context, statement].concat()).to_vec()
    }

    fn key_of(&self, kind: Kind, id: u64) -> Key {
        Key {
            kind,
            origin: NodeId(self.node),
            id,
        }
    }

    /// Of a boot that began now.
    fn sequence(&self) -> u64 {
        (self.now_ms / 1_000) << 32 | 1
    }
}

/// Two versions of the victim's object, both newer than the genuine one: an empty one, and a purge. Signed with the liar's key under its own
/// certificate, and under the victim's.
fn stolen(forge: &Forge, theirs: &Bytes, header: &Header) -> Vec<Object> {
    let (kind, origin, id, sequence) = *header;
    let key = Key {
        kind: Kind(kind as u8),
        origin: NodeId(origin),
        id,
    };
    let mut all = Vec::new();
    for (flags, more) in [(0, 1_000), (FLAG_PURGE, 2_000)] {
        let object = forge.object(key, sequence + more, flags, Vec::new());
        all.push(Object {
            certificate: theirs.clone(),
            ..object.clone()
        });
        all.push(object);
    }
    all
}

fn lies(forge: &Forge, lies: &Lies) -> anyhow::Result<(Vec<Object>, u64)> {
    let theirs = der(&lies.victim_certificate)?;
    let mut all: Vec<Object> = lies
        .stolen
        .iter()
        .flat_map(|header| stolen(forge, &theirs, header))
        .collect();
    let mut forged = all.len() as u64;
    all.push(forge.self_authorised(&lies.prefix));
    forged += 1;
    // Genuine, and of no use: nobody authorised it.
    all.push(forge.unauthorised(&lies.prefix));
    Ok((all, forged))
}

/// The first certificate of a PEM file.
fn der(pem: &[u8]) -> anyhow::Result<Bytes> {
    let text = std::str::from_utf8(pem).context("a certificate is not PEM")?;
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    decode64(&body).context("a certificate is not PEM")
}

fn decode64(text: &str) -> Option<Bytes> {
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for byte in text.bytes().filter(|b| *b != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out.into())
}

/// Speaks to the neighbour, floods everything, stays for a second, and goes. To be called inside the network namespace of the router that it plays.
///
/// # Errors
/// When the neighbour does not speak to it: then nothing was tried.
pub fn play(rogue: &Rogue, what: &Lies) -> anyhow::Result<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), speak(rogue, what))
            .await
            .context("the neighbour did not answer a liar in time")?
    })
}

async fn speak(rogue: &Rogue, what: &Lies) -> anyhow::Result<Told> {
    let credentials = Credentials::load(&rogue.credentials)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let forge = Forge {
        node: rogue.node,
        key: credentials.signing_key()?,
        certificate: credentials.certificate_der.clone(),
        now_ms: now.as_millis() as u64,
    };
    let (objects, forged) = lies(&forge, what)?;
    let address = SocketAddr::new(rogue.remote, dmsc_proto::LINKSTATE_PORT);
    let tls = ClientTlsConfig::new()
        .domain_name(dmsc_spa::pki::node_dns(NodeId(rogue.peer)))
        .ca_certificate(Certificate::from_pem(&credentials.root_pem))
        .identity(Identity::from_pem(
            &credentials.certificate_pem,
            &credentials.key_pem,
        ));
    let channel = Endpoint::from_shared(format!("https://{address}"))?
        .local_address(Some(rogue.local))
        .connect_timeout(Duration::from_secs(3))
        .tls_config(tls)?
        .connect()
        .await
        .with_context(|| format!("the neighbour at {address} does not accept a connection"))?;
    let (send, receive) = tokio::sync::mpsc::channel(16);
    let hello = Message::Hello(v1::NeighbourHello {
        version_min: dmsc_proto::LINKSTATE_VERSIONS.0,
        version_max: dmsc_proto::LINKSTATE_VERSIONS.1,
        node: rogue.node,
        area: 0,
        adjacency: u32::from(rogue.adjacency),
        peer: rogue.peer,
        peer_adjacency: u32::from(rogue.peer_adjacency),
        software: "dmsc-lab".into(),
        boot_epoch: now.as_secs() as u32,
    });
    let message = Some(hello);
    send.send(v1::NeighbourMessage { message }).await?;
    let mut answers = LinkStateClient::new(channel)
        .max_decoding_message_size(dmsc_proto::LINKSTATE_MESSAGE)
        .exchange(tokio_stream::wrappers::ReceiverStream::new(receive))
        .await
        .context("the neighbour refuses the session")?
        .into_inner();
    let first = answers.message().await?.and_then(|m| m.message);
    if !matches!(first, Some(Message::Hello(_))) {
        bail!("the neighbour did not say hello");
    }
    let flooded = objects.len() as u64;
    send.send(to_wire(dmsc_linkstate::Message::Flood(objects)))
        .await?;
    // Listens for a moment: what was flooded is to be read, not lost with the connection.
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        while let Ok(Some(_)) = answers.message().await {}
    })
    .await;
    Ok(Told {
        node: rogue.node,
        flooded,
        forged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configs::Paths;
    use crate::credentials::Issuer;
    use crate::plan::tests::figure2;

    #[test]
    fn base64_is_read() {
        assert_eq!(decode64("aGVsbG8=").unwrap(), "hello");
        assert_eq!(decode64("aGVsbG8h").unwrap(), "hello!");
        assert!(decode64("a b").is_none());
    }

    #[test]
    fn lies_are_well_formed_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths(dir.path());
        Issuer::prepare(&figure2(), paths).unwrap();
        let own = Credentials::load(&paths.credentials("sr2")).unwrap();
        let victim = Credentials::load(&paths.credentials("sg4")).unwrap();
        let forge = Forge {
            node: 6,
            key: own.signing_key().unwrap(),
            certificate: own.certificate_der.clone(),
            now_ms: 1_800_000_000_000,
        };
        let what = Lies {
            prefix: NameBuf::parse("/shop/payment").unwrap(),
            victim: 4,
            stolen: vec![(1, 4, 0, 5), (2, 4, 1, 9)],
            victim_certificate: victim.certificate_pem.clone().into_bytes(),
        };
        let (objects, forged) = lies(&forge, &what).unwrap();
        assert_eq!((objects.len(), forged), (10, 9));
        assert_eq!(objects[0].certificate, victim.certificate_der);
        assert_eq!(objects[1].certificate, own.certificate_der);
        assert!(objects[2].is_purge());
        assert!(objects[..8].iter().all(|o| o.key.origin == NodeId(4)));
        // Signed with the liar's own key: no honest router takes that for the victim's.
        let root = own.root_key().unwrap();
        let key = |der: &[u8]| {
            let now_s = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs();
            root.certificate(der, now_s).unwrap().public_key
        };
        let (liar, genuine) = (key(&own.certificate_der), key(&victim.certificate_der));
        for object in &objects {
            let message = object.signed_bytes();
            assert!(dmsc_spa::verify::verify(&liar, &message, &object.signature));
            assert!(!dmsc_spa::verify::verify(
                &genuine,
                &message,
                &object.signature
            ));
        }
        let body = &objects[8].body;
        assert!(root.authorisation(body).is_err());
        let last = &objects[9];
        assert_eq!(last.key.origin, NodeId(6));
        let prefixes = v1::PrefixBody::decode(last.body.clone()).unwrap();
        assert_eq!(prefixes.prefixes[0].name, what.prefix.as_bytes());
    }
}
