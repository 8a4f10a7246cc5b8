//! What QUIC over names costs its two ends: `cargo run --release -p dmsc-quic --example echo_cost [CALLS] [MEGABYTES] [MTU]`.
//!
//! A client, a server and a model gateway between them, each on a thread of its own with a single-threaded runtime. Answers of 1,000 bytes with 16 calls in flight, then bytes one way.
//! CPU is that of the two ends' threads, which includes what the kernel does for them; the gateway's is left out. One line of JSON.

#[path = "../../pod/tests/model/gateway.rs"]
#[allow(dead_code)]
mod gateway;
#[path = "../../pod/tests/model/pki.rs"]
#[allow(dead_code)]
mod pki;
#[path = "../tests/names/world.rs"]
#[allow(dead_code)]
mod world;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dmsc_quic::{Connector, Listener, Stream};
use dmsc_wire::NameBuf;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use world::{World, name};

const CALLERS: u64 = 16;
const ANSWER: usize = 1_000;
const CHUNK: usize = 64 << 10;
/// Of a request for an answer; bulk begins otherwise.
const ASK: &[u8] = &[b'?'; 64];

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// CPU of this thread so far.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let used = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(used as u64)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (calls, megabytes, mtu) = (number(100_000), number(100), number(1_472));
    let gateway = runtime();
    let world = Arc::new(gateway.block_on(World::new()));
    world.gateway.offer(mtu as u32);
    let (tell, told) = mpsc::channel();
    let (ask, asked) = tokio::sync::mpsc::unbounded_channel();
    let server = {
        let world = Arc::clone(&world);
        std::thread::spawn(move || runtime().block_on(serve(&world, asked, &tell)))
    };
    let client = std::thread::spawn(move || {
        let server_cpu = || {
            ask.send(()).unwrap();
            told.recv().unwrap()
        };
        server_cpu();
        runtime().block_on(async {
            let endpoint = world.client().await;
            let (connector, cart) = (endpoint.connector(), name("/shop/cart"));
            call(&connector, &cart, calls / 10).await;
            let before = (Instant::now(), cpu(), server_cpu());
            call(&connector, &cart, calls).await;
            let after = (Instant::now(), cpu(), server_cpu());
            let per_call = |used: Duration| used.as_secs_f64() * 1e6 / calls as f64;
            let ends = (per_call(after.1 - before.1), per_call(after.2 - before.2));
            let rate = calls as f64 / (after.0 - before.0).as_secs_f64();
            let before = (Instant::now(), cpu(), server_cpu());
            bulk(&connector, &cart, megabytes).await;
            let after = (Instant::now(), cpu(), server_cpu());
            let seconds = (after.0 - before.0).as_secs_f64();
            let bulk_cpu = (after.1 - before.1 + after.2 - before.2).as_secs_f64();
            let connection = connector.connect(&cart).await.unwrap();
            let path = connection.stats().path;
            println!(
                "{{\"cpu_us_per_call\":{:.2},\"client\":{:.2},\"server\":{:.2},\"calls_per_s\":{rate:.0},\"bulk_mb_per_s\":{:.0},\"bulk_cpu_us_per_mb\":{:.0},\"mtu\":{},\"lost\":{}}}",
                ends.0 + ends.1,
                ends.0,
                ends.1,
                megabytes as f64 / seconds,
                bulk_cpu * 1e6 / megabytes as f64,
                path.current_mtu,
                path.lost_packets,
            );
        });
    });
    gateway.block_on(async {
        while !client.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    client.join().unwrap();
    server.join().unwrap();
}

async fn call(connector: &Connector, cart: &NameBuf, calls: u64) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (connector, cart) = (connector.clone(), cart.clone());
            tokio::spawn(async move {
                for _ in 0..calls / CALLERS + u64::from(caller < calls % CALLERS) {
                    let answer = connector.call(&cart, ASK, false).await.unwrap();
                    assert_eq!(answer.len(), ANSWER);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

async fn bulk(connector: &Connector, cart: &NameBuf, megabytes: u64) {
    let connection = connector.connect(cart).await.unwrap();
    let mut stream = connection.open_bi().await.unwrap();
    let chunk = vec![b'!'; CHUNK];
    for _ in 0..(megabytes << 20) / CHUNK as u64 {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let all = stream.read_to_end(8).await.unwrap();
    assert_eq!(all, (megabytes << 20).to_be_bytes());
}

/// Serves until nobody asks for its CPU any more.
async fn serve(
    world: &World,
    mut asked: tokio::sync::mpsc::UnboundedReceiver<()>,
    tell: &mpsc::Sender<Duration>,
) {
    let proof = world.proof("cart/a", "/shop/cart", |_| {});
    let endpoint = world
        .endpoint(("cart/a", "cart/a"), &["/shop/cart"], vec![proof])
        .await;
    tokio::spawn(accept(endpoint.listen()));
    while asked.recv().await.is_some() {
        tell.send(cpu()).unwrap();
    }
}

async fn accept(listener: Listener) {
    while let Some(connection) = listener.accept().await {
        tokio::spawn(async move {
            while let Ok(stream) = connection.accept_bi().await {
                tokio::spawn(answer(stream));
            }
        });
    }
}

async fn answer(mut stream: Stream) {
    let mut first = [0; ASK.len()];
    let Ok(read @ 1..) = stream.read(&mut first).await else {
        return;
    };
    let answer = if first[0] == ASK[0] {
        while let Ok(1..) = stream.read(&mut first).await {}
        vec![b'.'; ANSWER]
    } else {
        let (mut buffer, mut length) = (vec![0; CHUNK], read as u64);
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            length += read as u64;
        }
        length.to_be_bytes().to_vec()
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
