//! Where pods are attached: on ports that they name and may use, and moved from one to another with what is theirs.

mod model;
mod net;

use dmsc_proto::v1;
use net::Net;
use net::authority::Spa;
use net::pod::{Place, Pod};
use tonic::{Code, Status};

const POLICY: &str = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n";

/// A gateway whose shared port is for pods below `pod1`.
struct Site {
    net: Net,
    dataplane: model::Dataplane,
    _spa: Spa,
    process: net::Process,
}

impl Site {
    async fn start(number: u8) -> Self {
        let net = Net::new(number);
        let gateway = format!(
            "authorities = [\"{}:35032\"]\n[[gateway.port]]\nname = \"pod1v\"\nidentities = [\"pod1/*\"]\n",
            net.address(9)
        );
        net.write(1, "sg", &[2], &gateway);
        Self {
            dataplane: net.dataplane(1, "sg", 1).await,
            _spa: Spa::start(&net, "spa1", 9, POLICY),
            process: net.start(1, "sg"),
            net,
        }
    }

    /// Port, address and names of an attachment, as the dataplane has it.
    fn at(&self, id: u32) -> (String, String, usize) {
        let tables = self.dataplane.tables();
        let one = &tables.attachments[&id];
        (one.port.clone(), one.address.clone(), one.serves.len())
    }
}

fn refused(answer: Result<v1::RegisterReply, Status>, code: Code, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{status}");
}

#[tokio::test]
async fn a_lease_moves_with_its_attachment_and_its_names() {
    let site = Site::start(30).await;
    let mut pod = Pod::new(&site.net, 1, "pod1/a").await;
    let names = ["/shop/a"];
    let first = pod.register(4_000, &names).await.unwrap();
    assert_eq!((first.port.as_str(), first.max_packet), ("pod1", 1_472));
    let (lease, id) = (first.lease, first.attachment);
    let own = site.at(id).1;

    let there = Place("pod1v", "10.9.0.2", lease);
    let moved = pod.register_at(4_000, &names, there).await.unwrap();
    assert_eq!((moved.lease, moved.attachment), (lease, id));
    assert_eq!((moved.port.as_str(), moved.max_packet), ("pod1v", 8_972));
    assert_eq!(moved.data_address, "10.9.0.1");
    assert_eq!(site.at(id), ("pod1v".into(), "10.9.0.2".into(), 1));
    assert!(site.dataplane.tables().attachments[&id].moves);
    assert_eq!(site.dataplane.tables().attachments.len(), 1);
    let refresh = |lease| v1::RefreshRequest {
        lease,
        ..Default::default()
    };
    pod.client.refresh(refresh(lease)).await.unwrap();
    // The same again is the same, whether it names its lease or not.
    for again in [there, Place("pod1v", "10.9.0.2", 0)] {
        let reply = pod.register_at(4_000, &names, again).await.unwrap();
        assert_eq!((reply.lease, reply.attachment), (lease, id));
    }
    let back = pod.register_at(4_000, &names, Place("", "", lease)).await;
    assert_eq!(back.unwrap().attachment, id);
    assert_eq!(site.at(id), ("pod1".into(), own, 1));
    // Whoever else it has at the place that it moves to makes room.
    let other = pod.register_at(4_000, &[], Place("pod1v", "10.9.0.2", 0));
    let other = other.await.unwrap();
    assert_ne!(other.lease, lease);
    let moved = pod.register_at(4_000, &names, there).await.unwrap();
    assert_eq!((moved.lease, moved.attachment), (lease, id));
    let gone = pod.client.refresh(refresh(other.lease)).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone}");
    assert_eq!(site.dataplane.tables().attachments.len(), 1);
    // What ends, ends where it is.
    let withdraw = v1::WithdrawRequest {
        lease,
        ..Default::default()
    };
    pod.client.withdraw(withdraw).await.unwrap();
    assert!(site.dataplane.tables().attachments.is_empty());
}

#[tokio::test]
async fn nobody_is_where_he_may_not_be_or_moves_somebody_else() {
    let site = Site::start(31).await;
    let mut pod = Pod::new(&site.net, 1, "pod1/a").await;
    let first = pod.register(4_000, &[]).await.unwrap();
    let there = Place("pod1v", "10.9.0.2", first.lease);
    // What was signed is what is done.
    for change in [
        (&|request: &mut v1::RegisterRequest| request.port = "pod1".into())
            as &dyn Fn(&mut v1::RegisterRequest),
        &|request| request.address = "10.9.0.3".into(),
        &|request| request.lease += 1,
        &|request| request.lease = 0,
        &|request| {
            request.port.clear();
            request.address.clear();
            request.lease = 0;
        },
    ] {
        let mut request = pod.request_at(4_000, &[], there).await.unwrap();
        change(&mut request);
        let answer = pod.client.register(request).await;
        let words = "another port, address or lease";
        let answer = answer.map(tonic::Response::into_inner);
        refused(answer, Code::PermissionDenied, words);
    }
    // An endpoint that somebody has, and a lease that somebody has.
    pod.register_at(4_000, &[], there).await.unwrap();
    let mut other = Pod::new(&site.net, 1, "pod1/b").await;
    let answer = other.register_at(4_000, &[], Place("pod1v", "10.9.0.2", 0));
    let words = "is of identity \"pod1/a\"";
    refused(answer.await, Code::FailedPrecondition, words);
    for place in [
        Place("pod1v", "10.9.0.3", first.lease),
        Place("", "", first.lease),
    ] {
        let answer = other.register_at(4_001, &[], place).await;
        refused(answer, Code::NotFound, "this lease is unknown");
    }
    // A port of others, one that nobody may name, and one that is not there.
    let mut stranger = Pod::new(&site.net, 1, "pod2/a").await;
    for (place, code, words) in [
        (
            Place("pod1v", "10.9.0.4", 0),
            Code::PermissionDenied,
            "lists other identities",
        ),
        (
            Place("pod1", "127.0.0.7", 0),
            Code::PermissionDenied,
            "add a [[gateway.port]]",
        ),
        (
            Place("pod7", "10.9.0.4", 0),
            Code::FailedPrecondition,
            "no pod port \"pod7\" (pod1, pod1v)",
        ),
        (
            Place("", "10.9.0.4", 0),
            Code::InvalidArgument,
            "say which port",
        ),
    ] {
        let answer = stranger.register_at(4_002, &[], place).await;
        refused(answer, code, words);
    }
    stranger
        .register_at(4_002, &[], Place("pod1", "", 0))
        .await
        .unwrap();
    let places: Vec<_> = [first.attachment]
        .map(|id| site.at(id).0)
        .into_iter()
        .collect();
    assert_eq!(places, ["pod1v"]);
    assert_eq!(site.dataplane.tables().attachments.len(), 2);
}

#[tokio::test]
async fn who_may_name_a_port_changes_at_run_time() {
    let site = Site::start(32).await;
    let mut pod = Pod::new(&site.net, 1, "pod2/a").await;
    let place = Place("pod1v", "10.9.0.2", 0);
    let answer = pod.register_at(4_000, &[], place).await;
    refused(answer, Code::PermissionDenied, "lists other identities");
    let (old, new) = ("\"pod1/*\"", "\"pod1/*\", \"pod2/a\"");
    site.net.rewrite(1, old, new);
    site.process.signal(nix::sys::signal::Signal::SIGHUP);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while pod.register_at(4_000, &[], place).await.is_err() {
        assert!(std::time::Instant::now() < limit, "still refused");
    }
}
