//! A neighbour that is the test itself: a node's certificate, a real stream, and whatever it likes to say.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dmsc_linkstate::{Key, Kind, Object, Sequence};
use dmsc_node::clock::wall_ms;
use dmsc_node::peer::convert::to_wire;
use dmsc_proto::v1::{self, link_state_client::LinkStateClient, neighbour_message::Message};
use dmsc_spa::credentials::{Credentials, SigningKey};
use dmsc_spa::pki::node_dns;
use dmsc_wire::NodeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};

use super::Net;

pub struct Neighbour {
    pub outbound: mpsc::Sender<v1::NeighbourMessage>,
    pub inbound: Streaming<v1::NeighbourMessage>,
    id: u32,
    key: SigningKey,
    certificate: Bytes,
}

pub fn hello(own: u32, peer: u32) -> v1::NeighbourHello {
    v1::NeighbourHello {
        version_min: 1,
        version_max: 1,
        node: own,
        adjacency: 1,
        peer,
        ..Default::default()
    }
}

impl Neighbour {
    /// Dials node `peer` with the credentials and the address of the node in `hello`, until somebody is there.
    pub async fn dial(net: &Net, peer: u32, hello: v1::NeighbourHello) -> Result<Self, Status> {
        let id = hello.node;
        let credentials = Credentials::load(&net.path(&format!("node{id}"))).unwrap();
        let tls = ClientTlsConfig::new()
            .identity(Identity::from_pem(
                &credentials.certificate_pem,
                &credentials.key_pem,
            ))
            .ca_certificate(Certificate::from_pem(&credentials.root_pem))
            .domain_name(node_dns(NodeId(peer)));
        let endpoint = Endpoint::from_shared(format!("https://{}:35031", net.address(peer)))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .local_address(Some(net.address(id).parse().unwrap()));
        let limit = Instant::now() + Duration::from_secs(10);
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(error) => assert!(Instant::now() < limit, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let (outbound, messages) = mpsc::channel(1);
        let first = v1::NeighbourMessage {
            message: Some(Message::Hello(hello)),
        };
        outbound.send(first).await.unwrap();
        let mut client = LinkStateClient::new(channel);
        let reply = client.exchange(ReceiverStream::new(messages)).await?;
        let mut inbound = reply.into_inner();
        inbound.message().await?.expect("a hello");
        Ok(Self {
            outbound,
            inbound,
            id,
            key: credentials.signing_key().unwrap(),
            certificate: credentials.certificate_der.clone(),
        })
    }

    /// An object of its own, well signed; of a kind that nobody knows, which is kept and flooded.
    pub fn object(&self, id: u64, sequence: u64, body: Bytes) -> Object {
        let mut object = Object {
            key: Key {
                kind: Kind(77),
                origin: NodeId(self.id),
                id,
            },
            flags: 0,
            sequence: Sequence(sequence),
            lifetime_s: 3_600,
            area: 0,
            originated_at_ms: wall_ms(),
            body,
            signature: [0; 64],
            certificate: self.certificate.clone(),
            age_s: 0,
        };
        object.signature = self.key.sign(&object.signed_bytes());
        object
    }
}

/// Ready to be sent.
pub fn flood(objects: Vec<Object>) -> v1::NeighbourMessage {
    to_wire(dmsc_linkstate::Message::Flood(objects))
}

/// Reads and forgets until the stream ends, and says why it did.
pub fn read_on(
    mut inbound: Streaming<v1::NeighbourMessage>,
) -> tokio::task::JoinHandle<Option<Status>> {
    tokio::spawn(async move {
        loop {
            match inbound.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    })
}
