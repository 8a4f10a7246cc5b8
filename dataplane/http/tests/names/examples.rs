//! Both ends of the examples.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::hall::{URI, serving};
use crate::world::World;
use crate::{cart, greeter};

#[tokio::test]
async fn the_greeter_greets_and_leaves() {
    let world = World::new().await;
    let served = serving(&world, "cart/a").await;
    let (leave, left) = oneshot::channel::<()>();
    let serve = tokio::spawn(async move {
        let left = async { drop(left.await) };
        greeter::serve(&served, left).await
    });
    let call = greeter::Call {
        who: "you".into(),
        count: 20,
        chat: 20,
        timeout: 10_000,
    };
    let endpoint = Arc::new(world.client().await);
    call.run(&endpoint, URI).await.unwrap();
    drop(leave);
    serve.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_cart_keeps_items_and_leaves() {
    let world = World::new().await;
    let served = serving(&world, "cart/a").await;
    let (leave, left) = oneshot::channel::<()>();
    let serve = tokio::spawn(async move {
        let left = async { drop(left.await) };
        cart::serve(&served, left).await
    });
    let endpoint = Arc::new(world.client().await);
    let items = vec!["tea".to_owned(), "milk".to_owned()];
    cart::call(&endpoint, URI, items).await.unwrap();
    drop(leave);
    serve.await.unwrap().unwrap();
}
