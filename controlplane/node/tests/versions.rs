//! Ends that do not understand each other say so, in words that name both, and change nothing: the agent's API, the pods', and link state (the
//! authorities' is in spa.rs).

mod model;
mod net;

use dmsc_proto::v1;
use net::Net;
use net::neighbour::{Neighbour, hello};
use net::pod::Pod;
use tonic::Code;

#[tokio::test]
async fn a_dataplane_of_another_release_is_left_as_it_is() {
    let net = Net::new(16);
    net.write(1, "sr", &[2], "");
    let one = net.dataplane(1, "sr", 1).await;
    one.speak(2, 3);
    let _first = net.start(1, "sr");
    let status = net.until(1, |status| status["ok"] == false).await;
    let error = status["error"].as_str().unwrap();
    assert!(
        error.contains("1 to 1") && error.contains("2 to 3"),
        "{error}"
    );
    assert!(one.tables().transactions.is_empty());
    // An upgrade later it is taken, without another word.
    one.speak(1, 3);
    net.until(1, |status| status["ok"] == true).await;
    one.until(|tables| tables.adjacencies.len() == 1).await;
}

#[tokio::test]
async fn a_neighbour_of_another_release_is_refused_in_words() {
    let net = Net::new(17);
    net.write(1, "sr", &[2], "");
    net.write(2, "sr", &[1], "");
    let _two = net.dataplane(2, "sr", 1).await;
    let second = net.start_logged(2, "sr");
    let later = v1::NeighbourHello {
        version_min: 2,
        version_max: 3,
        ..hello(1, 2)
    };
    let Err(status) = Neighbour::dial(&net, 2, later).await else {
        panic!("taken");
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("speaks versions 2 to 3") && status.message().contains("1 to 1"),
        "{status}"
    );
    second
        .until("its operator reads it as well", |line| {
            line.contains("a neighbour is refused") && line.contains("upgrade the older")
        })
        .await;
    // Whoever speaks the old one as well is taken.
    let both = v1::NeighbourHello {
        version_max: 3,
        ..hello(1, 2)
    };
    assert!(Neighbour::dial(&net, 2, both).await.is_ok());
}

#[tokio::test]
async fn a_pod_of_another_release_is_refused_in_words() {
    let net = Net::new(18);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    net.write(1, "sg", &[2], &authorities);
    let one = net.dataplane(1, "sg", 1).await;
    let _first = net.start(1, "sg");
    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    let mut request = pod.request(4_000, &[]).await.unwrap();
    (request.version_min, request.version_max) = (2, 3);
    let status = pod.client.register(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("speaks versions 2 to 3") && status.message().contains("1 to 1"),
        "{status}"
    );
    assert!(one.tables().attachments.is_empty());
    let mut request = pod.request(4_000, &[]).await.unwrap();
    request.version_max = 3;
    let reply = pod.client.register(request).await.unwrap().into_inner();
    assert_eq!(reply.version, 1);
}
