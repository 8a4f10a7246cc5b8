//! The operator's API and the metrics of an edge that has served calls.

use std::path::Path;
use std::sync::Arc;

use dmsc_edge::config::Config;
use dmsc_edge::edge::Edge;
use dmsc_edge::log::AccessLog;
use dmsc_edge::pod::Shared;
use dmsc_edge::{metrics, operator};
use dmsc_proto::connect_unix;
use dmsc_proto::v1::edge_client::EdgeClient;
use dmsc_proto::v1::{ListConnectionsRequest, ListServicesRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::nobody;
use crate::rig::edge;
use crate::world::World;

/// An edge's process, as far as it is on the main thread.
pub fn process(
    operator: &Path,
    metrics: Option<std::net::SocketAddr>,
    pods: Vec<Arc<Shared>>,
) -> Edge {
    let metrics = metrics
        .map(|at| format!("metrics = \"{at}\""))
        .unwrap_or_default();
    let text = format!(
        "operator = {operator:?}\n{metrics}\n[[pod]]\nidentity = \"a\"\ncredentials = \"/x\"\ngateway = \"10.0.0.1\"\n"
    );
    let config = Config::parse(&text, Path::new("edge.toml")).unwrap();
    Edge::new(config, pods, AccessLog::default())
}

/// A program that answers one request after the other.
async fn program() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 2_048];
                while stream.read(&mut asked).await? > 0 {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    at
}

#[tokio::test]
async fn what_is_served_called_and_connected_is_told() {
    let world = World::new().await;
    let at = program().await;
    let server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let ask = b"GET / HTTP/1.1\r\nhost: cart.shop.dmsc\r\nconnection: close\r\n\r\n";
    let answer = client.raw(ask).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("edge.sock");
    let pods = [&server, &client].map(|one| Arc::clone(&one.context.shared));
    let scrape = nobody().await;
    let process = Arc::new(process(&socket, Some(scrape), pods.to_vec()));
    operator::serve(Arc::clone(&process)).await.unwrap();
    metrics::serve(Arc::clone(&process)).await.unwrap();
    let error = operator::serve(Arc::clone(&process)).await.unwrap_err();
    assert!(
        error.to_string().contains("another edge serves there"),
        "{error}"
    );

    let mut asker = EdgeClient::new(connect_unix(&socket).await.unwrap());
    let mut services = Vec::new();
    let mut after = Vec::new();
    loop {
        let limit = 1;
        let pod = String::new();
        let request = ListServicesRequest { limit, after, pod };
        let reply = asker.list_services(request).await.unwrap().into_inner();
        services.extend(reply.services);
        after = reply.next;
        if after.is_empty() {
            break;
        }
    }
    let told: Vec<_> = services
        .iter()
        .map(|one| {
            (
                one.pod.as_str(),
                one.direction.as_str(),
                one.requests,
                one.instances,
            )
        })
        .collect();
    assert_eq!(told, [("cart/a", "in", 0, 0), ("web", "out", 1, 1)]);
    assert_eq!(
        (services[0].to.as_str(), services[0].health.as_str()),
        (at.to_string().as_str(), "up")
    );
    assert_eq!(
        services[0].in_flight, 1,
        "the connection to the program is kept"
    );

    let request = ListConnectionsRequest {
        pod: "web".into(),
        ..ListConnectionsRequest::default()
    };
    let reply = asker.list_connections(request).await.unwrap().into_inner();
    assert_eq!(reply.connections.len(), 1);
    let one = &reply.connections[0];
    assert_eq!(
        (one.peer.as_str(), one.gateway, one.attachment),
        ("cart/a", 1, 1)
    );
    assert!(one.mtu >= 1_200 && one.sent_bytes > 0 && one.rtt_us > 0);

    let mut reader = TcpStream::connect(scrape).await.unwrap();
    reader
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    let line = r#"dmsc_edge_requests_total{pod="web",direction="out",name="/shop/cart",protocol="h1",code_class="2xx"} 1"#;
    assert!(text.contains(line) && text.ends_with("# EOF\n"), "{text}");

    // Whoever takes over finds the socket free.
    process.drain();
    let wait = async {
        while connect_unix(&socket).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::rig::LIMIT, wait).await.unwrap();
}
