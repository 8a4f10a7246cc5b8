//! The real curl.

use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;

use dmsc_edge::stats::{Class, Direction, Protocol};
use tokio::process::Command;

use crate::program::Program;
use crate::rig::{Edge, LIMIT, edge};
use crate::world::{World, name};

/// Runs it against the edge; what it says.
pub async fn curl(edge: &Edge, host: &str, arguments: &[&str], path: &str) -> String {
    let url = format!("http://{host}:{}{path}", edge.http.port());
    let resolve = format!("{host}:{}:127.0.0.1", edge.http.port());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--resolve", &resolve])
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, curl.output());
    let output = output.await.expect("in time").expect("curl is installed");
    let (out, err) = (output.stdout, output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(&out),
        String::from_utf8_lossy(&err)
    )
}

/// curl 7.88 of Debian 12 fails when it uses a connection of HTTP/2 again, whoever is at the other end.
async fn h2load(edge: &Edge, arguments: &[&str]) -> String {
    let to = format!("--connect-to={}", edge.http);
    let mut h2load = Command::new("h2load");
    h2load
        .args(arguments)
        .arg(to)
        .arg(format!("http://{CART}/"))
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, h2load.output());
    let output = output.await.expect("in time").expect("h2load is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CART: &str = "cart.shop.dmsc";

#[tokio::test]
async fn a_page_by_name_over_both_versions() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let page = curl(&client, CART, &["-i"], "/page").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.ends_with("cart GET /page"), "{page}");
    // Below the prefix, in other letters, and by prior knowledge.
    let page = curl(&client, "V1.Cart.Shop.DMSC", &[], "/page").await;
    assert_eq!(page, "cart GET /page");
    let page = curl(&client, CART, &["--http2-prior-knowledge", "-i"], "/two").await;
    assert!(page.starts_with("HTTP/2 200"), "{page}");
    assert!(page.ends_with("cart GET /two"), "{page}");
    let stats = &client.context.shared.stats;
    let cart = stats.of(Direction::Out, Some(&name("/shop/cart")));
    assert_eq!(cart.calls(Protocol::Http1, Class::Success), 1);
    assert_eq!(cart.calls(Protocol::Http2, Class::Success), 1);
    assert_eq!((cart.in_flight(), cart.failed()), (0, 0));
    // The gateway is told how long they took.
    world.gateway.answered("/shop/cart", 2).await;
    world.gateway.answered("/shop/cart/v1", 1).await;
    // One QUIC connection for each name that was called.
    assert_eq!(client.context.endpoint.open_connections(), 2);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let urls = "/[1-50]";
    let pages = curl(&client, CART, &[], urls).await;
    assert_eq!(pages.matches("cart GET").count(), 50, "{pages}");
    assert_eq!(program.calls(), 50);
    assert_eq!(program.connections.load(Relaxed), 1);
    // Twenty at a time, of two callers.
    let told = h2load(&client, &["-n", "500", "-c", "2", "-m", "10"]).await;
    assert!(
        told.contains("500 succeeded, 0 failed, 0 errored"),
        "{told}"
    );
    assert_eq!(program.connections.load(Relaxed), 2);
}

#[tokio::test]
async fn bodies_trailers_and_heads_pass() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let data = ["--data-binary", "hello", version];
        assert_eq!(curl(&client, CART, &data, "/count").await, "cart 5");
        let head = curl(&client, CART, &["-I", version], "/page").await;
        assert!(head.contains(" 200"), "{head}");
        let first = version == "--http1.1";
        // Those are an error in HTTP/2.
        let hop = if first { "Keep-Alive: 5" } else { "X-Other: 2" };
        let arguments = ["-i", "-H", "TE: trailers", version];
        let page = curl(&client, CART, &arguments, "/trailers").await;
        assert!(page.contains("xxxxx"), "{page}");
        assert!(first || page.contains("x-after: all"), "{page}");
        let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let arguments = ["-H", parent, "-H", hop, "-H", "X-Mine: 1", version];
        let page = curl(&client, CART, &arguments, "/headers").await;
        assert!(page.contains("\"x-mine\": \"1\""), "{page}");
        assert!(
            page.contains("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
            "{page}"
        );
        assert!(
            !page.contains("00f067aa0ba902b7") && !page.contains("keep-alive"),
            "{page}"
        );
        assert_eq!(page.contains("\"host\""), version == "--http1.1", "{page}");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_pass_in_little_memory() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let _alone = MEMORY.lock().await;
    let before = resident();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let arguments = ["-o", "/dev/null", "-w", "%{size_download}", version];
        let size = curl(&client, CART, &arguments, "/large").await;
        assert_eq!(size, (100 << 20).to_string());
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 50 << 20, "{} MiB more", grown >> 20);
}

/// One test at a time says what its memory grew by.
pub static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Bytes of memory that this process has.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}
