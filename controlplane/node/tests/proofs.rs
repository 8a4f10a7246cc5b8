//! What a pod signs is what its gateway and the authorities act on, and nothing else.

mod model;
mod net;

use dmsc_proto::v1;
use net::Net;
use net::authority::Spa;
use net::pod::{Pod, name};
use tonic::Code;

const POLICY: &str = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\", \"/shop/b\"]\n";

#[tokio::test]
async fn a_registration_is_for_what_was_signed() {
    let net = Net::new(19);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    net.write(1, "sg", &[2], &authorities);
    let one = net.dataplane(1, "sg", 1).await;
    let _spa = Spa::start(&net, "spa1", 9, POLICY);
    let _first = net.start(1, "sg");
    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    for (change, code, words) in [
        (
            (&|request: &mut v1::RegisterRequest| request.prefixes.push(name("/shop/b")))
                as &dyn Fn(&mut v1::RegisterRequest),
            Code::PermissionDenied,
            "not for the prefixes of the registration",
        ),
        (
            &|request| request.prefixes.reverse(),
            Code::PermissionDenied,
            "not for the prefixes of the registration",
        ),
        (
            &|request| request.prefixes.clear(),
            Code::PermissionDenied,
            "not for the prefixes of the registration",
        ),
        (
            &|request| request.domain = 1,
            Code::PermissionDenied,
            "for another domain",
        ),
    ] {
        let mut request = pod
            .request(4_000, &["/shop/a/y", "/shop/a/x"])
            .await
            .unwrap();
        change(&mut request);
        let status = pod.client.register(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    assert!(one.tables().attachments.is_empty());
    // In the order of the pod, which is not that of names; and one that is nobody's.
    let names = ["/shop/b/y", "/shop/a/x", "/dmsc/1"];
    let reply = pod.register(4_000, &names).await.unwrap();
    assert_eq!(reply.refused.len(), 1, "{reply:?}");
    let tables = one
        .until(|tables| tables.attachments.values().any(|one| one.serves.len() == 2))
        .await;
    let serves = &tables.attachments.values().next().unwrap().serves;
    assert_eq!(serves, &[name("/shop/a/x"), name("/shop/b/y")]);
}

/// The root takes back the keys of a pod and of an authority: known from a file, as from a neighbour.
#[tokio::test]
async fn keys_that_were_taken_back_are_nobodys() {
    let net = Net::new(20);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    net.write(1, "sg", &[2], &authorities);
    net.write(2, "sg", &[1], &authorities);
    let one = net.dataplane(1, "sg", 1).await;
    let two = net.dataplane(2, "sg", 1).await;
    let _spa = Spa::start(&net, "spa1", 9, POLICY);
    let first = net.start(1, "sg");
    let _second = net.start(2, "sg");
    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    pod.register(4_000, &["/shop/a"]).await.unwrap();
    let has = |tables: &model::Tables| tables.prefixes.contains_key(&name("/shop/a"));
    two.until(has).await;
    let give = |signed: &[u8], file: &str| {
        std::fs::write(
            net.path(&format!("state1/root-revocations/{file}.bin")),
            signed,
        )
        .unwrap();
        first.signal(nix::sys::signal::Signal::SIGHUP);
    };
    let now_s = dmsc_node::clock::wall().as_secs();

    // The authority: what it signed keeps nothing.
    let signed = net.root.revoke_authority("spa1", "sold", now_s).unwrap();
    give(&signed, "authority");
    two.until(|tables| !has(tables)).await;
    assert!(!has(&one.tables()));

    let keys = [pod.public_key()];
    let signed = net.root.revoke_keys(&keys, "leaked", now_s).unwrap();
    give(&signed, "pod");
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let status = loop {
        match pod.request(4_001, &[]).await {
            Err(status) => break status,
            Ok(_) => assert!(std::time::Instant::now() < limit, "still taken"),
        }
    };
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("revoked by the root"), "{status}");
    // Others are who they were.
    let mut other = Pod::new(&net, 1, "pod1/b").await;
    other.register(4_002, &[]).await.unwrap();
}
