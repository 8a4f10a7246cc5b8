//! The words that an edge answers, against a small one on a real Unix socket: output, JSON and exit status.

use std::path::PathBuf;
use std::process::Output;

use dmsc_proto::v1::edge_server::{Edge, EdgeServer};
use dmsc_proto::v1::*;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Two services on two pages, and one connection; nothing for a pod named "nobody".
struct FakeEdge;

/// `/shop/cart`.
const CART: &[u8] = b"\x04shop\x04cart";

#[tonic::async_trait]
impl Edge for FakeEdge {
    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesReply>, Status> {
        let request = request.into_inner();
        if request.pod == "refused" {
            return Err(Status::permission_denied("this needs the role view"));
        }
        let served = EdgeService {
            pod: "pod1/cart".into(),
            direction: "in".into(),
            name: CART.to_vec(),
            to: "127.0.0.1:8080".into(),
            health: "up".into(),
            requests: 7,
            ..EdgeService::default()
        };
        let called = EdgeService {
            direction: "out".into(),
            instances: 2,
            to: String::new(),
            health: String::new(),
            errors: 1,
            ..served.clone()
        };
        let (services, next) = match request.after.as_slice() {
            [] => (vec![served], b"more".to_vec()),
            _ => (vec![called], Vec::new()),
        };
        Ok(Response::new(ListServicesReply { services, next }))
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsReply>, Status> {
        let connection = EdgeConnection {
            pod: "pod1/cart".into(),
            direction: "in".into(),
            peer: "pod4/curl".into(),
            name: CART.to_vec(),
            gateway: 4,
            attachment: 9,
            age_ms: 61_500,
            rtt_us: 412,
            mtu: 1_452,
            by: "shared".into(),
            ..EdgeConnection::default()
        };
        let is_known = request.get_ref().pod != "nobody";
        Ok(Response::new(ListConnectionsReply {
            connections: is_known.then_some(connection).into_iter().collect(),
            next: Vec::new(),
        }))
    }
}

struct Server {
    directory: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let listener = UnixListener::bind(directory.path().join("edge.sock")).expect("bind");
        let server = tonic::transport::Server::builder().add_service(EdgeServer::new(FakeEdge));
        let task = tokio::spawn(async move {
            server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .expect("serve");
        });
        Self { directory, task }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("edge.sock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn dmscctl(socket: &std::path::Path, words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dmscctl"));
    command.env("DMSC_EDGE", socket).args(words);
    command.kill_on_drop(true).output().await.expect("start")
}

async fn text(server: &Server, words: &[&str]) -> String {
    let output = dmscctl(&server.socket(), words).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn json(server: &Server, words: &[&str]) -> Value {
    let words: Vec<&str> = [&["--json"], words].concat();
    serde_json::from_str(&text(server, &words).await).expect("one JSON document")
}

#[tokio::test]
async fn services_and_connections() {
    let server = Server::start();
    let services = json(&server, &["show", "services"]).await;
    assert_eq!(services["services"][0]["name"], "/shop/cart");
    assert_eq!(services["services"][0]["to"], "127.0.0.1:8080");
    assert_eq!(services["services"][0]["instances"], Value::Null);
    assert_eq!(services["services"][1]["instances"], 2);
    assert_eq!(services["services"][1]["health"], Value::Null);
    let table = text(&server, &["show", "services"]).await;
    assert!(table.contains("2 instances"), "{table}");

    let connections = json(&server, &["show", "connections"]).await;
    assert_eq!(connections["connections"][0]["peer"], "pod4/curl");
    assert_eq!(connections["connections"][0]["mtu_bytes"], 1_452);
    let table = text(&server, &["show", "connections"]).await;
    for word in ["4:9", "61.5", "0.412", "1452", "shared"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    let nobody = text(&server, &["show", "connections", "--pod", "nobody"]).await;
    assert_eq!(nobody, "no connections are open\n");
}

#[tokio::test]
async fn refusals_are_told() {
    let server = Server::start();
    let output = dmscctl(&server.socket(), &["show", "services", "--pod", "refused"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("not permitted: this needs the role view"),
        "{stderr}"
    );
    let gone = server.directory.path().join("gone.sock");
    let output = dmscctl(&gone, &["show", "connections"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no edge answers on"), "{stderr}");
    assert!(stderr.contains("No such file"), "{stderr}");
}
