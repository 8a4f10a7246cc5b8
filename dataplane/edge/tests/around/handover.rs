//! Sockets and addresses go from one edge to another.

use std::sync::Arc;
use std::time::Duration;

use dmsc_edge::handover;
use dmsc_edge::pod::{Phase, Shared};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::operator::process;
use crate::rig::edge;
use crate::world::{World, name};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_process_listens_where_the_old_one_did_and_knows_its_addresses() {
    let world = World::new().await;
    let pod = edge(&world, "web", &[]).await;
    let shared = &pod.context.shared;
    let names = shared.names.clone().unwrap();
    let cart = names.address_of(&name("/shop/cart"));
    let folder = tempfile::tempdir().unwrap();
    let operator = folder.path().join("edge.sock");
    let old = Arc::new(process(&operator, None, vec![Arc::clone(shared)]));
    handover::serve(Arc::clone(&old)).await.unwrap();
    let socket = folder.path().join("edge.sock.takeover");
    assert!(socket.exists());

    // One that asks, and ends before it is ready, changes nothing.
    let new = Arc::new(process(
        &operator,
        None,
        vec![Arc::new(Shared::new(shared.config.clone()))],
    ));
    let config = new.config.clone();
    let taken = tokio::task::spawn_blocking(move || handover::take(&config));
    drop(taken.await.unwrap().unwrap());
    assert_eq!(*old.phase().borrow(), Phase::Running);

    let taking = Arc::clone(&new);
    let user = names.gate().enter().await;
    let working = Arc::clone(&names);
    let ended = tokio::task::spawn_blocking(move || {
        let mut taken = handover::take(&taking.config).unwrap();
        taken.fill(&taking.pods);
        let sockets = taken.sockets.remove("web").unwrap();
        // While the new one starts, the old one gives another address.
        let web = working.address_of(&name("/shop/web"));
        let stops = std::thread::spawn(move || {
            // As its tasks do, once they are told.
            std::thread::sleep(Duration::from_millis(50));
            drop(user);
        });
        taken.finish(&taking).unwrap();
        stops.join().unwrap();
        (sockets, web)
    });
    let (sockets, web) = tokio::time::timeout(crate::rig::LIMIT, ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*old.phase().borrow(), Phase::Draining);
    assert!(!socket.exists(), "free for the new one");
    let table = new.pods[0].names.as_ref().unwrap();
    assert_eq!(table.name_of(cart), Some(name("/shop/cart")));
    assert_eq!(table.name_of(web), Some(name("/shop/web")));
    let entered = table.gate().enter();
    tokio::time::timeout(crate::rig::LIMIT, entered)
        .await
        .unwrap();

    let http = sockets.http.unwrap();
    assert_eq!(http.local_addr().unwrap(), pod.http);
    pod.phase.send_replace(Phase::Ended);
    let http = TcpListener::from_std(http).unwrap();
    tokio::spawn(async move {
        while let Ok((mut accepted, _)) = http.accept().await {
            let _ = accepted.write_all(b"new").await;
        }
    });
    // The old one may take one more while it hears that it is to end, and closes it.
    let asking = async {
        loop {
            let mut program = TcpStream::connect(pod.http).await.unwrap();
            let mut said = String::new();
            let _ = program.read_to_string(&mut said).await;
            if said == "new" {
                return;
            }
        }
    };
    tokio::time::timeout(crate::rig::LIMIT, asking)
        .await
        .unwrap();
}

#[tokio::test]
async fn without_a_running_edge_it_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let new = process(&folder.path().join("edge.sock"), None, Vec::new());
    let error = handover::take(&new.config).unwrap_err().to_string();
    assert!(error.contains("start without --takeover"), "{error}");
}
