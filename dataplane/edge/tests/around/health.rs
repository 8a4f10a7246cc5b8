//! A pod whose programs fail their checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use dmsc_edge::config::{HealthCheck, HealthKind};
use dmsc_wire::{NameBuf, ProbeHealth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::nobody;
use crate::rig::{LIMIT, edge_that_checks};
use crate::world::World;

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("in time");
}

/// A program that is ill at first, and whatever it is told to be then.
struct Patient {
    at: SocketAddr,
    check: HealthKind,
    how: How,
}

/// How it shows whether it is well.
enum How {
    /// By taking connections, or none.
    Tcp(Option<TcpListener>),
    /// By a status; it lives all the time.
    Http(Arc<AtomicU32>),
    /// As gRPC has it; it lives all the time.
    Grpc(HealthReporter),
}

impl Patient {
    async fn tcp() -> Self {
        Self {
            at: nobody().await,
            check: HealthKind::Tcp,
            how: How::Tcp(None),
        }
    }

    async fn http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU32::new(503));
        let said = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1_024];
                let read = stream.read(&mut asked).await.unwrap_or(0);
                let is_right = asked[..read].starts_with(b"GET /healthz HTTP/1.1\r\n");
                let status = if is_right { said.load(Relaxed) } else { 404 };
                let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            at,
            check: HealthKind::Http {
                path: "/healthz".into(),
            },
            how: How::Http(status),
        }
    }

    async fn grpc() -> Self {
        let (reporter, service) = tonic_health::server::health_reporter();
        let status = ServingStatus::NotServing;
        reporter.set_service_status("shop.Web", status).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            at,
            check: HealthKind::Grpc {
                service: "shop.Web".into(),
            },
            how: How::Grpc(reporter),
        }
    }

    async fn be(&mut self, well: bool) {
        match &mut self.how {
            How::Tcp(listener) => {
                *listener = None;
                if well {
                    *listener = Some(TcpListener::bind(self.at).await.unwrap());
                }
            }
            How::Http(status) => status.store(if well { 200 } else { 503 }, Relaxed),
            How::Grpc(reporter) => {
                let status = match well {
                    true => ServingStatus::Serving,
                    false => ServingStatus::NotServing,
                };
                reporter.set_service_status("shop.Web", status).await;
            }
        }
    }
}

/// The gateway is told when all programs are ill, and when one is well.
async fn the_gateway_is_told(mut patient: Patient) {
    let world = World::new().await;
    let check = |kind| HealthCheck {
        kind,
        every: Duration::from_millis(200),
        timeout: Duration::from_secs(5),
        ..HealthCheck::default()
    };
    let serves = [
        ("/shop/cart", nobody().await, check(HealthKind::Tcp)),
        ("/shop/web", patient.at, check(patient.check.clone())),
    ];
    let server = edge_that_checks(&world, "cart/a", &serves, LIMIT).await;
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
    patient.be(true).await;
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
    // It turns ill while it lives, and is well again.
    patient.be(false).await;
    until(|| world.gateway.health() == "draining").await;
    assert_eq!(state("/shop/web", 4).await.health, ProbeHealth::Draining);
    patient.be(true).await;
    until(|| world.gateway.health() == "serving").await;
    assert_eq!(state("/shop/web", 5).await.health, ProbeHealth::Healthy);
}

#[tokio::test]
async fn the_gateway_is_told_of_programs_that_take_no_connections() {
    the_gateway_is_told(Patient::tcp().await).await;
}

#[tokio::test]
async fn the_gateway_is_told_of_programs_whose_status_says_so() {
    the_gateway_is_told(Patient::http().await).await;
}

#[tokio::test]
async fn the_gateway_is_told_of_programs_that_say_so_by_grpc() {
    the_gateway_is_told(Patient::grpc().await).await;
}
