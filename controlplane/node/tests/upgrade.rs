//! An upgrade of the dataplane that goes wrong: the new process dies as soon as it has taken over, and one with empty tables is started in its place,
//! as the unit of the dataplane does it.

mod model;
mod net;

use std::time::{Duration, Instant};

use model::{Dataplane, Tables};
use net::Net;
use net::authority::Spa;
use net::pod::{Pod, name};

const POLICY: &str = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n";
/// From the start of a dataplane to its last table; the control plane looks every 50 ms, and machines of CI are slow.
const AT_ONCE: Duration = Duration::from_secs(2);

fn whole(tables: &Tables) -> bool {
    tables.gateways.contains_key(&(0, 1))
        && tables.prefixes.contains_key(&name("/shop/a"))
        && tables.attachments.len() == 1
        && tables.adjacencies.len() == 1
}

#[tokio::test]
async fn a_new_dataplane_that_dies_right_after_it_took_over_is_replaced_by_one_that_gets_everything()
 {
    let net = Net::new(25);
    net.write(1, "sr", &[2], "");
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    net.write(2, "sg", &[1], &authorities);
    let neighbour = net.dataplane(1, "sr", 1).await;
    let old = net.dataplane(2, "sg", 1).await;
    let _spa = Spa::start(&net, "spa1", 9, POLICY);
    let (_first, _second) = (net.start(1, "sr"), net.start(2, "sg"));
    let mut pod = Pod::new(&net, 2, "pod1/a").await;
    let lease = pod.register(4_000, &["/shop/a"]).await.unwrap().lease;
    let tables = old.until(whole).await;
    let routes = |tables: &Tables| tables.prefixes.contains_key(&name("/shop/a"));
    neighbour.until(routes).await;
    let untouched = neighbour.tables().transactions;
    let mut current = old;
    // Before the control plane has found the new one, and after.
    for (nonce, found) in [(50, false), (60, true)] {
        drop(current);
        let new = Dataplane::boot_as(&net.path("agent2"), nonce, 2, "sg");
        new.take_over(tables.clone());
        new.hello(&[1], true).await;
        if found {
            let nonce = format!("{nonce:016x}");
            net.until(2, |status| status["boot_nonce"] == nonce).await;
        }
        drop(new);
        let started = Instant::now();
        current = Dataplane::boot_as(&net.path("agent2"), nonce + 1, 2, "sg");
        current.hello(&[1], true).await;
        current.until(whole).await;
        let took = started.elapsed();
        assert!(took < AT_ONCE, "{took:?}");
    }
    // Nobody else noticed, and the pod has its lease.
    assert_eq!(neighbour.tables().transactions, untouched);
    let refresh = dmsc_proto::v1::RefreshRequest {
        lease,
        ..Default::default()
    };
    pod.client.refresh(refresh).await.unwrap();
}
