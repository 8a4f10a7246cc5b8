//! Any bytes as the stream on which a server proves its name: no panic, and nothing is proven by them. With a genuine authorisation among them, in its place by the
//! first byte, it is that one that counts, whatever stands around it; with one bit changed it says nothing else.
#![no_main]

use std::sync::OnceLock;

use bytes::Bytes;
use dmsc_http_fuzz::now;
use dmsc_pod::Pin;
use dmsc_quic::proof::{self, Claim, MAX_PROOF, MAX_PROOFS};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope, now_s};
use dmsc_spa::statement::{self, AUTHORISATION, SignedAuthorisation};
use dmsc_spa::verify::RootKey;
use dmsc_wire::{AttachmentId, Domain, NameBuf, NodeId};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

struct World {
    root: RootKey,
    genuine: Vec<u8>,
    until_s: u64,
    name: NameBuf,
    now_s: u64,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("dmsc-fuzz-proofs-{}", std::process::id()));
        let root = Root::init(&folder.join("root"), "fuzz.test", 1).expect("a root");
        let authority = Identity::authority("shop").expect("a name");
        let at = folder.join("authority");
        root.issue(&authority, &Scope::default(), 1, false, &at)
            .expect("an authority");
        let authority = Credentials::load(&at).expect("just written");
        let key = authority.signing_key().expect("its key");
        let name = NameBuf::parse("/shop/cart").expect("a name");
        let now_s = now_s();
        let until_s = now_s + 3_600;
        let body = statement::Authorisation {
            authority: "shop".into(),
            serial: 1,
            domain: 1,
            gateway: 1,
            identity: "cart/a".into(),
            issued_at_s: now_s,
            not_after_s: until_s,
            grants: vec![statement::Grant {
                name: Bytes::copy_from_slice(name.as_bytes()),
                ..statement::Grant::default()
            }],
            fragment: 1,
            fragments: 1,
            ..statement::Authorisation::default()
        };
        let body = Bytes::from(body.encode_to_vec());
        let signed = SignedAuthorisation {
            signature: statement::sign(&key, AUTHORISATION, &body),
            statement: body,
            authority_certificate: authority.authority_certificate.clone().expect("one"),
        };
        let root = authority.root_key().expect("the root's certificate");
        let _ = std::fs::remove_dir_all(&folder);
        World {
            root,
            genuine: signed.encode_to_vec(),
            until_s,
            name,
            now_s,
        }
    })
}

fn read(mut stream: &[u8]) -> Option<u64> {
    let world = world();
    let claim = Claim {
        identity: "cart/a",
        name: world.name.as_name(),
        domain: Domain(1),
        place: Pin {
            gateway: NodeId(1),
            attachment: AttachmentId(1),
        },
        now_s: world.now_s,
    };
    now(proof::read(&mut stream, &world.root, claim)).ok()
}

/// As a server sends them.
fn encode(proofs: &[&[u8]]) -> Vec<u8> {
    let mut out = (proofs.len() as u32).to_be_bytes().to_vec();
    for proof in proofs {
        out.extend((proof.len() as u32).to_be_bytes());
        out.extend_from_slice(proof);
    }
    out
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(read(data), None, "a signature was guessed");
    let Some(([place, size, at], bytes)) = data.split_first_chunk::<3>() else {
        return;
    };
    let World {
        genuine, until_s, ..
    } = world();
    let mut proofs: Vec<&[u8]> = bytes.chunks(usize::from(*size).max(1)).collect();
    proofs.insert(usize::from(*place) % (proofs.len() + 1), genuine);
    let fits = proofs.len() <= MAX_PROOFS && proofs.iter().all(|one| one.len() <= MAX_PROOF);
    assert_eq!(read(&encode(&proofs)), fits.then_some(*until_s));
    // One bit of the signed bytes, the signature or the certificate.
    let mut changed = genuine.clone();
    let bit = usize::from(*place) * 256 + usize::from(*at);
    let count = changed.len();
    changed[(bit / 8) % count] ^= 1 << (bit % 8);
    if let Some(until) = read(&encode(&[&changed])) {
        // What protobuf ignores may be changed without effect.
        assert_eq!(until, *until_s);
    }
});
