//! The statements that dmsc-spa signs are those of authority.proto, field by field: two crates, one wire.

use bytes::Bytes;
use dmsc_proto::v1;
use dmsc_spa::statement as spa;
use prost::Message;

/// Through the other's type and back; a field that one of them lacks is lost, one of another type is not decodable.
fn same<A: Message + Default + PartialEq, B: Message + Default + PartialEq>(one: &A) {
    let bytes = one.encode_to_vec();
    let two = B::decode(bytes.as_slice()).unwrap();
    assert_eq!(two.encode_to_vec(), bytes);
    assert!(A::decode(two.encode_to_vec().as_slice()).unwrap() == *one);
}

fn some(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn both_crates_speak_of_the_same_statements() {
    let signed = spa::SignedAuthorityCertificate {
        statement: some("s"),
        signature: some("g"),
    };
    same::<_, v1::SignedAuthorityCertificate>(&signed);
    same::<_, v1::AuthorityCertificate>(&spa::AuthorityCertificate {
        authority: "spa1".into(),
        public_key: some("k"),
        subtrees: vec![some("a"), some("b")],
        domains: vec![1, 300],
        not_before_s: 4,
        not_after_s: 5,
        serial: 6,
    });
    same::<_, v1::SignedAuthorisation>(&spa::SignedAuthorisation {
        statement: some("s"),
        signature: some("g"),
        authority_certificate: some("c"),
    });
    same::<_, v1::Authorisation>(&spa::Authorisation {
        authority: "spa1".into(),
        serial: 1,
        domain: 2,
        gateway: 3,
        identity: "pod1/a".into(),
        issued_at_s: 4,
        not_after_s: 5,
        stale_s: 6,
        grants: vec![spa::Grant {
            name: some("n"),
            exact: true,
            maximum_depth: 7,
            rights: 2,
        }],
        fragment: 8,
        fragments: 9,
        conditions: 5,
    });
    same::<_, v1::SignedRevocation>(&spa::SignedRevocation {
        statement: some("s"),
        signature: some("g"),
        authority_certificate: some("c"),
    });
    same::<_, v1::Revocation>(&spa::Revocation {
        authority: "spa1".into(),
        serial: 1,
        domain: 2,
        name: some("n"),
        gateway: 3,
        identity: "pod1/a".into(),
        issued_before_s: 4,
        until_s: 5,
        reason: "sold".into(),
        conditions: 3,
    });
    same::<_, v1::SignedRootRevocation>(&spa::SignedRootRevocation {
        statement: some("s"),
        signature: some("g"),
    });
    same::<_, v1::RootRevocation>(&spa::RootRevocation {
        node: 1,
        issued_before_s: 2,
        until_s: 3,
        reason: "stolen".into(),
        authority: "spa1".into(),
        key_sha256: vec![vec![7; 32].into()],
        conditions: 4,
    });
    same::<_, v1::PodStatement>(&spa::PodStatement {
        nonce: some("n"),
        gateway: 1,
        identity: "pod1/a".into(),
        signed_at_ms: 2,
        domain: 3,
        prefixes_sha256: vec![9; 32].into(),
        endpoint_sha256: vec![8; 32].into(),
    });
}
