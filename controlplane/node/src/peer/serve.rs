//! The accepting end.

use std::pin::Pin;
use std::time::Duration;

use dmsc_proto::LINKSTATE_MESSAGE;
use dmsc_proto::v1::{
    self, link_state_server::LinkState, link_state_server::LinkStateServer,
    neighbour_message::Message as Wire,
};
use dmsc_spa::identity::Identity;
use dmsc_spa::verify::RootKey;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use super::greet::GreetError;
use super::stream;
use crate::handle::Handle;
use crate::tls;

/// A neighbour that says nothing for this long after it connected is let go.
const PATIENCE: Duration = Duration::from_secs(3);

/// The service.
#[derive(Clone)]
pub struct NeighbourService {
    handle: Handle,
    root: RootKey,
}

impl NeighbourService {
    /// Ready for a tonic server with mutual TLS.
    #[must_use]
    pub fn service(handle: Handle, root: RootKey) -> LinkStateServer<Self> {
        LinkStateServer::new(Self { handle, root })
            .max_decoding_message_size(LINKSTATE_MESSAGE)
            .max_encoding_message_size(2 * LINKSTATE_MESSAGE)
    }
}

#[tonic::async_trait]
impl LinkState for NeighbourService {
    type ExchangeStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::NeighbourMessage, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<v1::NeighbourMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (certificate, _) = tls::caller(&request, &self.root)?;
        let Identity::Node { id: peer, .. } = certificate.identity else {
            return Err(Status::permission_denied(format!(
                "{} is no node; only routers and gateways exchange link state",
                certificate.identity
            )));
        };
        let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let info = info.map(TlsConnectInfo::get_ref);
        let from = info
            .and_then(TcpConnectInfo::remote_addr)
            .or(request.remote_addr());
        let from = from.ok_or_else(|| Status::internal("the connection has no IP address"))?;
        let to = info
            .and_then(TcpConnectInfo::local_addr)
            .map(|to| to.ip().to_canonical());
        let addresses = (from.ip().to_canonical(), to);
        let mut inbound = request.into_inner();
        let first = timeout(PATIENCE, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(Wire::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(GreetError::NoHello.into());
        };
        let greeted = self
            .handle
            .query(move |node| {
                let (link, peer_link) = node.accept(&hello, peer, addresses)?;
                Ok((link, peer_link, node.own_hello(link, Some(peer_link))))
            })
            .await
            .ok_or_else(|| Status::unavailable("this control plane is ending"))?;
        let (link, peer_link, own) = greeted.map_err(|error: GreetError| {
            warn!(%peer, from = %addresses.0, "a neighbour is refused: {error}");
            Status::from(error)
        })?;
        let own = own.ok_or_else(|| Status::unavailable("the adjacency was just removed"))?;
        let (outbound, messages) = mpsc::channel(1);
        let hello = v1::NeighbourMessage {
            message: Some(Wire::Hello(own)),
        };
        // The channel is empty, so there is a place.
        let _ = outbound.try_send(Ok(hello));
        let names = (link, (peer, certificate), peer_link);
        tokio::spawn(stream::run(self.handle.clone(), names, inbound, outbound));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}
