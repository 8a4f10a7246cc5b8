//! A pod whose programs fail their checks.

use std::time::Duration;

use dmsc_wire::{NameBuf, ProbeHealth};
use tokio::net::TcpListener;

use crate::nobody;
use crate::rig::{LIMIT, edge_that_looks};
use crate::world::World;

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("in time");
}

#[tokio::test]
async fn the_gateway_is_told_when_all_programs_are_ill_and_when_one_is_well() {
    let world = World::new().await;
    let (first, second) = (nobody().await, nobody().await);
    let serves = [("/shop/cart", first), ("/shop/web", second)];
    let every = Duration::from_millis(200);
    let server = edge_that_looks(&world, "cart/a", &serves, LIMIT, every).await;
    let served = server.context.shared.served.clone();
    assert!(
        served.iter().all(|one| one.is_healthy()),
        "until a check says otherwise"
    );
    until(|| world.gateway.health() == "draining").await;
    assert!(!served.iter().any(|one| one.is_healthy()));
    let at = server.context.endpoint.pod().registered().attachment;
    let state = async |name: &str, id: u64| {
        let name = NameBuf::parse(name).unwrap();
        world.gateway.probe(at, &name, id).await.state.unwrap()
    };
    assert_eq!(state("/shop/web", 1).await.health, ProbeHealth::Draining);
    let _program = TcpListener::bind(second).await.unwrap();
    until(|| world.gateway.health() == "serving").await;
    assert!(!served[0].is_healthy() && served[1].is_healthy());
    // Probes are told of each service by itself, with its calls under way.
    for _ in 0..25 {
        served[1].stats.begin();
    }
    assert_eq!(
        state("/shop/cart/v1", 2).await.health,
        ProbeHealth::Draining
    );
    let web = state("/shop/web", 3).await;
    assert_eq!((web.health, web.load_permille), (ProbeHealth::Healthy, 2));
}
