//! The health protocol of gRPC: grpc.health.v1.Health/Check.

use std::net::SocketAddr;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Failed;

/// Asks for a service; empty: for the server as a whole.
pub(super) async fn check(to: SocketAddr, service: &str) -> Result<(), Failed> {
    let failed = |error: &dyn std::error::Error| Failed::Grpc(last_cause(error));
    let endpoint = Endpoint::from_shared(format!("http://{to}")).map_err(|error| failed(&error))?;
    // A connection for each check: one that hangs is the program's fault, and is to be seen.
    let channel = endpoint.connect().await.map_err(|error| failed(&error))?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let reply = HealthClient::new(channel).check(request).await;
    let status = reply.map_err(|status| Failed::Grpc(status.message().to_owned()))?;
    match status.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(Failed::Grpc(other.as_str_name().to_owned())),
    }
}

fn last_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;

    #[tokio::test]
    async fn a_server_tells_how_it_is() {
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter
            .set_service_status("shop", tonic_health::ServingStatus::NotServing)
            .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        check(address, "").await.unwrap();
        let failed = check(address, "shop").await.unwrap_err();
        assert_eq!(failed.to_string(), "gRPC: NOT_SERVING");
        assert!(check(address, "nobody").await.is_err());
        let failed = check(([127, 0, 0, 1], 1).into(), "").await.unwrap_err();
        assert!(failed.to_string().contains("refused"), "{failed}");
    }
}
