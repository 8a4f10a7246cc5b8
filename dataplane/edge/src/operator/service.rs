//! Answers from the pods' counters; nothing on a pod's thread is stopped for it.

use std::collections::HashMap;
use std::sync::Arc;

use dmsc_proto::v1;
use tonic::{Request, Response, Status};

use super::pages::{Keyed, judge, key, page};
use crate::edge::Edge;
use crate::pod::Shared;
use crate::stats::{Direction, NameStats, QuicConnection};

/// One edge's answers.
#[derive(Debug)]
pub(super) struct Service {
    edge: Arc<Edge>,
}

impl Service {
    pub const fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// Of one pod, or of all.
    fn pods(&self, identity: &str) -> impl Iterator<Item = &Arc<Shared>> {
        let pods = self.edge.pods.iter();
        pods.filter(move |pod| identity.is_empty() || pod.config.identity == identity)
    }
}

#[tonic::async_trait]
impl v1::edge_server::Edge for Service {
    async fn list_services(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Result<Response<v1::ListServicesReply>, Status> {
        let request = request.into_inner();
        judge(&request.after)?;
        let all = self.pods(&request.pod).flat_map(|pod| services(pod));
        let (services, next) = page(all.collect(), request.limit, &request.after);
        Ok(Response::new(v1::ListServicesReply { services, next }))
    }

    async fn list_connections(
        &self,
        request: Request<v1::ListConnectionsRequest>,
    ) -> Result<Response<v1::ListConnectionsReply>, Status> {
        let request = request.into_inner();
        judge(&request.after)?;
        let all = self.pods(&request.pod).flat_map(|pod| {
            let open = pod.stats.quic_connections();
            open.into_iter().map(|one| connection(pod, &one))
        });
        let (connections, next) = page(all.collect(), request.limit, &request.after);
        Ok(Response::new(v1::ListConnectionsReply {
            connections,
            next,
        }))
    }
}

fn services(pod: &Shared) -> Vec<Keyed<v1::EdgeService>> {
    let mut instances: HashMap<Vec<u8>, u32> = HashMap::new();
    for one in pod.stats.quic_connections() {
        if one.direction == Direction::Out {
            let name = one.connection.name().as_bytes().to_vec();
            *instances.entry(name).or_default() += 1;
        }
    }
    let names = pod.stats.names();
    names
        .iter()
        .map(|stats| service(pod, stats, &instances))
        .collect()
}

fn service(
    pod: &Shared,
    stats: &NameStats,
    instances: &HashMap<Vec<u8>, u32>,
) -> Keyed<v1::EdgeService> {
    let identity = &pod.config.identity;
    let direction = stats.direction.as_str();
    let name = stats.name.as_ref().map_or(&[][..], |name| name.as_bytes());
    let is_this = |prefix: &dmsc_wire::NameBuf| Some(prefix) == stats.name.as_ref();
    let served = match stats.direction {
        Direction::In => pod.served.iter().find(|one| is_this(&one.serve.prefix)),
        Direction::Out => None,
    };
    let health = served.map(|one| if one.is_healthy() { "up" } else { "down" });
    let entry = v1::EdgeService {
        pod: identity.clone(),
        direction: direction.to_owned(),
        name: name.to_vec(),
        to: served
            .map(|one| one.serve.to.to_string())
            .unwrap_or_default(),
        instances: instances
            .get(name)
            .copied()
            .filter(|_| stats.direction == Direction::Out)
            .unwrap_or_default(),
        health: health.unwrap_or_default().to_owned(),
        requests: stats.all_calls(),
        errors: stats.failed(),
        in_flight: stats.in_flight(),
    };
    (
        key(&[identity.as_bytes(), direction.as_bytes(), name]),
        entry,
    )
}

fn connection(pod: &Shared, one: &QuicConnection) -> Keyed<v1::EdgeConnection> {
    let identity = &pod.config.identity;
    let direction = one.direction.as_str();
    let quic = &one.connection;
    let stats = quic.stats();
    let place = quic.instance();
    let age = one.since.elapsed();
    let context = pod.context.get();
    let is_shared = context.is_some_and(|context| context.endpoint.pod().is_shared());
    let entry = v1::EdgeConnection {
        pod: identity.clone(),
        direction: direction.to_owned(),
        peer: quic.peer_identity().to_owned(),
        name: quic.name().as_bytes().to_vec(),
        gateway: place.map_or(0, |pin| pin.gateway.0),
        attachment: place.map_or(0, |pin| u32::from(pin.attachment.0)),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        rtt_us: u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX),
        lost_packets: stats.path.lost_packets,
        sent_bytes: stats.udp_tx.bytes,
        received_bytes: stats.udp_rx.bytes,
        streams: one.streams(),
        mtu: u32::from(stats.path.current_mtu),
        sent_packets: stats.path.sent_packets,
        by: if is_shared { "shared" } else { "udp" }.to_owned(),
    };
    // Its address is its own while it is open.
    let itself = std::ptr::from_ref(one).addr().to_be_bytes();
    let parts = [
        identity.as_bytes(),
        direction.as_bytes(),
        &entry.name,
        &itself,
    ];
    (key(&parts), entry)
}
