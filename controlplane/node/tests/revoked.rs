//! Whoever is connected when the root takes its key or certificate back is let go at once, in words: pods, neighbours, operators.

mod model;
mod net;

use std::time::Duration;

use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::{
    DrainRequest, GiveStatementRequest, HealthRequest, RefreshRequest, ResolveRequest,
};
use dmsc_spa::credentials::Credentials;
use dmsc_wire::NodeId;
use model::{Dataplane, Tables};
use net::authority::Spa;
use net::neighbour::{Neighbour, hello, read_on};
use net::pod::{Pod, name};
use net::{Logged, Net};
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

const POLICY: &str = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n";
/// Long before a refresh, a renewal or a lease would say so.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Gateway 2 with an authority; node 1 is for the test to play.
struct Place {
    net: Net,
    dataplane: Dataplane,
    gateway: Logged,
    _spa: Spa,
    admin: OperatorClient<Channel>,
}

impl Place {
    async fn new(number: u8) -> Self {
        let net = Net::new(number);
        let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
        net.write(1, "sr", &[2], "");
        net.write(2, "sg", &[1], &authorities);
        let listen = format!(
            "operator_listen = \"{}:35033\"\n[linkstate]",
            net.address(2)
        );
        net.rewrite(2, "[linkstate]", &listen);
        let dataplane = net.dataplane(2, "sg", 1).await;
        let _spa = Spa::start(&net, "spa1", 9, POLICY);
        let gateway = net.start_logged(2, "sg");
        gateway
            .until("ready", |line| line.contains("registrar ready"))
            .await;
        let folder = net.credentials(&"operator/admin/root".parse().unwrap(), "admin");
        let admin = net.operator(2, &folder).await;
        Self {
            net,
            dataplane,
            gateway,
            _spa,
            admin,
        }
    }

    async fn revoke_key(&mut self, key: [u8; 32]) {
        let now_s = dmsc_node::clock::wall().as_secs();
        let signed = self.net.root.revoke_keys(&[key], "leaked", now_s).unwrap();
        self.give(signed.to_vec()).await;
    }

    async fn give(&mut self, root_revocation: Vec<u8>) {
        let request = GiveStatementRequest { root_revocation };
        self.admin.give_statement(request).await.unwrap();
    }
}

fn serves(tables: &Tables, text: &str) -> bool {
    tables.prefixes.contains_key(&name(text))
}

#[tokio::test]
async fn a_pod_whose_key_is_taken_back_is_out_at_once() {
    let mut place = Place::new(21).await;
    let mut pod = Pod::new(&place.net, 2, "pod1/a").await;
    let lease = pod.register(4_000, &["/shop/a/1"]).await.unwrap().lease;
    let mut other = Pod::new(&place.net, 2, "pod1/b").await;
    let reply = other.register(4_001, &["/shop/a/2"]).await.unwrap();
    let (other_lease, version) = (reply.lease, reply.revocations_version);
    assert!(version != 0 && reply.root_revocations.is_empty());
    place
        .dataplane
        .until(|tables| serves(tables, "/shop/a/1") && serves(tables, "/shop/a/2"))
        .await;
    let ask = |lease| ResolveRequest {
        lease,
        name: name("/shop/a/2"),
    };
    let mut stream = pod.client.resolve(ask(lease)).await.unwrap().into_inner();
    let mut others = other.client.resolve(ask(other_lease)).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().instances.len(), 1);

    place.revoke_key(pod.public_key()).await;
    let ended = async {
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let status = timeout(AT_ONCE, ended).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("revoked by the root"), "{status}");
    let gone = |tables: &Tables| !serves(tables, "/shop/a/1") && tables.attachments.len() == 1;
    timeout(AT_ONCE, place.dataplane.until(gone)).await.unwrap();
    place
        .gateway
        .until("let go", |line| line.contains("the connection ends"))
        .await;
    let health = |lease| HealthRequest {
        lease,
        state: "serving".into(),
    };
    let status = pod.client.health(health(lease)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");

    // Others are told, so that they end connections with it; once.
    let mut refresh = async |revocations_version| {
        let request = RefreshRequest {
            lease: other_lease,
            authorisations_version: 0,
            revocations_version,
        };
        other.client.refresh(request).await.unwrap().into_inner()
    };
    let told = refresh(version).await;
    assert_ne!(told.revocations_version, version);
    assert_eq!(told.root_revocations.len(), 1);
    let again = refresh(told.revocations_version).await;
    assert_eq!(again.revocations_version, told.revocations_version);
    assert!(again.root_revocations.is_empty());
    assert_eq!(refresh(0).await.revocations_version, 0, "it wants none");

    // Another is where it was.
    other.client.health(health(other_lease)).await.unwrap();
    assert!(others.get_mut().message().await.unwrap().is_some());
    assert!(serves(&place.dataplane.tables(), "/shop/a/2"));
}

#[tokio::test]
async fn what_was_withdrawn_stays_so_when_a_dataplane_comes_back_with_it() {
    let mut place = Place::new(22).await;
    let mut pod = Pod::new(&place.net, 2, "pod1/a").await;
    pod.register(4_000, &["/shop/a/1"]).await.unwrap();
    let tables = place
        .dataplane
        .until(|tables| serves(tables, "/shop/a/1"))
        .await;
    assert_eq!(tables.attachments.len(), 1);
    drop(place.dataplane);
    place
        .gateway
        .until("away", |line| line.contains("dataplane lost"))
        .await;
    let now_s = dmsc_node::clock::wall().as_secs();
    let keys = [pod.public_key()];
    let signed = place.net.root.revoke_keys(&keys, "leaked", now_s).unwrap();
    let request = GiveStatementRequest {
        root_revocation: signed.to_vec(),
    };
    place.admin.give_statement(request).await.unwrap();
    place
        .gateway
        .until("ended", |line| line.contains("lease ended before its time"))
        .await;
    // The same again: it was only not to be reached.
    let again = Dataplane::boot_as(&place.net.path("agent2"), 2, 2, "sg");
    again.take_over(tables);
    let gone = |tables: &Tables| !serves(tables, "/shop/a/1") && tables.attachments.is_empty();
    timeout(AT_ONCE, again.until(gone)).await.unwrap();
}

#[tokio::test]
async fn a_neighbour_whose_certificate_is_taken_back_is_told_and_left() {
    let mut place = Place::new(23).await;
    let neighbour = Neighbour::dial(&place.net, 2, hello(1, 2)).await.unwrap();
    let ended = read_on(neighbour.inbound);
    let now_s = dmsc_node::clock::wall().as_secs() + 1;
    let signed = place
        .net
        .root
        .revoke_node(NodeId(1), "stolen", now_s)
        .unwrap();
    place.give(signed.to_vec()).await;
    let status = timeout(AT_ONCE, ended).await.unwrap().unwrap().unwrap();
    assert!(
        status.message().contains("certificate was revoked"),
        "{status}"
    );
    // And not taken again.
    let again = Neighbour::dial(&place.net, 2, hello(1, 2)).await;
    assert_eq!(again.err().unwrap().code(), Code::PermissionDenied);
    drop(neighbour.outbound);
}

#[tokio::test]
async fn an_operator_whose_key_is_taken_back_hears_no_more() {
    let mut place = Place::new(24).await;
    // One that takes nothing, so that a drain waits for it.
    let neighbour = Neighbour::dial(&place.net, 2, hello(1, 2)).await.unwrap();
    let folder = place
        .net
        .credentials(&"operator/operate/eve".parse().unwrap(), "eve");
    let mut eve = place.net.operator(2, &folder).await;
    let mut stages = eve
        .drain(DrainRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = stages.message().await.unwrap().unwrap();
    assert_eq!(first.stage, "withdrawing");

    let key = Credentials::load(&folder).unwrap().signing_key().unwrap();
    place.revoke_key(key.public_key()).await;
    let ended = async {
        while stages.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let status = timeout(AT_ONCE, ended).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    place
        .gateway
        .until("let go", |line| line.contains("the connection ends"))
        .await;
    let status = eve.drain(DrainRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    // What it ordered while it might goes on.
    let about = place.admin.about(dmsc_proto::v1::AboutRequest {}).await;
    assert_eq!(about.unwrap().get_ref().state, "draining");
    drop(neighbour);
}
