//! What a pod signs is what its gateway and the authorities act on, and nothing else; what it is told proves its names to everybody.

mod model;
mod net;

use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_spa::credentials::certificate_der;
use dmsc_spa::verify::{Authorisation, RootKey};
use dmsc_wire::{Domain, NodeId};
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

/// What was told, as whoever has the root alone reads it.
fn read(net: &Net, told: &[Vec<u8>]) -> Vec<Authorisation> {
    let pem = std::fs::read_to_string(net.path("root").join("root.pem")).unwrap();
    let root = RootKey::from_certificate(&certificate_der(&pem).unwrap()).unwrap();
    told.iter()
        .map(|one| root.authorisation(one).unwrap())
        .collect()
}

async fn refresh(pod: &mut Pod, lease: u64, authorisations_version: u64) -> v1::RefreshReply {
    let request = v1::RefreshRequest {
        lease,
        authorisations_version,
        revocations_version: 0,
    };
    pod.client.refresh(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_pod_is_told_what_proves_its_names_and_again_when_it_is_renewed() {
    let net = Net::new(26);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    net.write(1, "sg", &[2], &authorities);
    let _one = net.dataplane(1, "sg", 1).await;
    let policy = format!("[authority]\nauthorisation_seconds = 10\n{POLICY}");
    let _spa = Spa::start(&net, "spa1", 9, &policy);
    let _first = net.start(1, "sg");
    let mut client = Pod::new(&net, 1, "pod1/c").await;
    let reply = client.register(4_000, &[]).await.unwrap();
    assert!(reply.authorisations.is_empty());
    assert_ne!(reply.authorisations_version, 0);

    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    let reply = pod.register(4_001, &["/shop/a/x", "/bank"]).await.unwrap();
    let (lease, version) = (reply.lease, reply.authorisations_version);
    let shown = read(&net, &reply.authorisations);
    let [first] = &shown[..] else {
        panic!("{shown:?}")
    };
    assert_eq!(first.identity, "pod1/a", "nobody else's");
    assert_eq!((first.gateway, first.domain), (NodeId(1), Domain(1)));
    let grants: Vec<String> = first
        .grants
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    assert!(grants.contains(&"/shop/a".to_owned()), "{grants:?}");

    // The same list is not told again; who wants none gets none; who has another gets it.
    let reply = refresh(&mut pod, lease, version).await;
    assert_eq!(reply.authorisations_version, version);
    assert!(reply.authorisations.is_empty());
    let reply = refresh(&mut pod, lease, 0).await;
    assert!(reply.authorisations.is_empty());
    let reply = refresh(&mut pod, lease, 1).await;
    assert_eq!(reply.authorisations.len(), 1);

    // After a third of its life.
    let limit = Instant::now() + Duration::from_secs(10);
    let renewed = loop {
        let reply = refresh(&mut pod, lease, version).await;
        if reply.authorisations_version != version {
            break read(&net, &reply.authorisations);
        }
        assert!(Instant::now() < limit, "not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(renewed.len(), 1, "{renewed:?}");
    assert!(renewed[0].not_after_s > first.not_after_s);
}

#[tokio::test]
async fn a_prefix_that_waited_is_proven_as_soon_as_it_is_admitted() {
    let net = Net::new(27);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    net.write(1, "sg", &[2], &authorities);
    let one = net.dataplane(1, "sg", 1).await;
    let _first = net.start(1, "sg");
    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    let reply = pod.register(4_000, &["/shop/a"]).await.unwrap();
    assert_eq!(reply.waiting.len(), 1);
    assert!(reply.authorisations.is_empty());
    let _spa = Spa::start(&net, "spa1", 9, POLICY);
    one.until(|tables| tables.attachments[&1].serves.len() == 1)
        .await;
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = refresh(&mut pod, reply.lease, reply.authorisations_version).await;
        if !reply.authorisations.is_empty() {
            let shown = read(&net, &reply.authorisations);
            assert_eq!(shown[0].identity, "pod1/a");
            break;
        }
        // The dataplane has it a moment before the lease is kept.
        assert!(Instant::now() < limit, "no proof");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
