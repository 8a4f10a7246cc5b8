//! Any bytes as a certificate, an authorisation, a revocation, a root revocation, or the root itself: refused or not, no panic.
#![no_main]

use dmsc_spa::policy::Policy;
use dmsc_spa::verify::RootKey;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fn root() -> &'static RootKey {
    static ROOT: OnceLock<RootKey> = OnceLock::new();
    ROOT.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("dmsc-fuzz-{}", std::process::id()));
        dmsc_spa::pki::Root::init(&folder, "fuzz.test", 1).expect("a root can be made");
        let pem = std::fs::read(folder.join("root.pem")).expect("it was just written");
        let _ = std::fs::remove_dir_all(&folder);
        let der = der_of(&pem);
        RootKey::from_certificate(&der).expect("its own certificate")
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
    let root = root();
    let _ = root.certificate(data, 1_700_000_000);
    let _ = root.authorisation(data);
    let _ = root.revocation(data);
    let _ = root.root_revocation(data);
    let _ = RootKey::from_certificate(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Policy::parse(text, std::path::Path::new("/nonexistent"));
    }
});
