//! Any bytes as a certificate, an authorisation, a revocation, a root revocation, what a pod signed, or the root itself: refused or not, no panic.
#![no_main]

use dmsc_spa::credentials::{Credentials, SigningKey};
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope};
use dmsc_spa::policy::Policy;
use dmsc_spa::proof;
use dmsc_spa::statement::{REGISTER, sign};
use dmsc_spa::verify::RootKey;
use dmsc_wire::NodeId;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The root, and a genuine pod: what it signs is read to the end.
struct World {
    root: RootKey,
    certificate: Vec<u8>,
    key: SigningKey,
    now_s: u64,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("dmsc-fuzz-{}", std::process::id()));
        let root = Root::init(&folder, "fuzz.test", 1).expect("a root can be made");
        let pod = folder.join("pod");
        let identity = Identity::Pod("pod1/a".into());
        root.issue(&identity, &Scope::default(), 1, false, &pod).expect("a pod can be certified");
        let read = |file: &str| std::fs::read(pod.join(file)).expect("it was just written");
        let (own, pem) = (read("root.pem"), read("cert.pem"));
        let key = Credentials::load(&pod).and_then(|one| one.signing_key()).expect("its own key");
        let _ = std::fs::remove_dir_all(&folder);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        World {
            root: RootKey::from_certificate(&der_of(&own)).expect("its own certificate"),
            certificate: der_of(&pem),
            key,
            now_s: since.expect("after 1970").as_secs(),
        }
    })
}

fn der_of(pem: &[u8]) -> Vec<u8> {
    let text: String = String::from_utf8_lossy(pem).lines().filter(|line| !line.starts_with('-')).collect();
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let mut out = Vec::new();
    for four in digits.chunks(4) {
        let word = four.iter().fold(0u32, |word, digit| word << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        out.extend_from_slice(&word.to_be_bytes()[1..four.len()]);
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let World { root, certificate, key, now_s } = world();
    let signature = sign(key, REGISTER, data);
    let _ = proof::check(root, certificate, data, &signature, NodeId(1), u64::MAX, *now_s);
    let _ = root.certificate(data, 1_700_000_000);
    let _ = root.authorisation(data);
    let _ = root.revocation(data);
    let _ = root.root_revocation(data);
    let _ = RootKey::from_certificate(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Policy::parse(text, std::path::Path::new("/nonexistent"));
    }
});
