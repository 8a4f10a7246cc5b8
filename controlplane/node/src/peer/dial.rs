//! The dialling end: every link with a higher neighbour whose hellos run gets a stream, again and again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dmsc_linkstate::AdjacencyId;
use dmsc_proto::LINKSTATE_MESSAGE;
use dmsc_proto::v1::{
    self, link_state_client::LinkStateClient, neighbour_message::Message as Wire,
};
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::node_dns;
use dmsc_spa::verify::{Certificate, VerifyError};
use dmsc_wire::NodeId;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Endpoint;
use tracing::{debug, info};

use super::greet::GreetError;
use super::{shown::Shown, stream};
use crate::clock::wall;
use crate::handle::Handle;
use crate::links::LinkSession;
use crate::node::Node;
use crate::tls::Tls;

/// For a connection with TLS and hellos; a neighbour that was stopped accepts and says nothing.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two attempts, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// Between two attempts at a node whose certificate was revoked: it may get a new one.
const REVOKED: Duration = Duration::from_secs(5);

/// Whom to call, and how.
struct Call {
    link: AdjacencyId,
    peer: NodeId,
    local: IpAddr,
    remote: SocketAddr,
    hello: v1::NeighbourHello,
}

impl Node {
    /// Links that want a stream now.
    fn calls(&mut self) -> Vec<Call> {
        let own = self.config.node.id;
        let port = self.config.linkstate.listen.port();
        let mut due = Vec::new();
        for (id, link) in &mut self.links {
            let up = matches!(link.session, LinkSession::Up(_));
            if own < link.adjacency.settings.peer
                && link.hello
                && !up
                && !link.dialing
                && let Some(addresses) = link.adjacency.session
            {
                link.dialing = true;
                due.push((*id, link.adjacency.settings.peer, addresses));
            }
        }
        let call = |(link, peer, (local, remote))| {
            Some(Call {
                link,
                peer,
                local,
                remote: SocketAddr::new(remote, port),
                hello: self.own_hello(link, None)?,
            })
        };
        due.into_iter().filter_map(call).collect()
    }

    fn call_failed(&mut self, link: AdjacencyId, why: String) -> bool {
        match self.links.get_mut(&link) {
            Some(link) if !matches!(link.session, LinkSession::Up(_)) => {
                let news = link.session != LinkSession::Lost(why.clone());
                link.session = LinkSession::Lost(why);
                news
            }
            _ => false,
        }
    }

    fn call_over(&mut self, link: AdjacencyId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.dialing = false;
        }
        self.signals.dial.notify_one();
    }
}

/// Calls whoever is to be called; never ends by itself.
pub async fn dialler(handle: Handle, tls: Tls) {
    let Some(dial) = handle.query(|node| node.signals.dial.clone()).await else {
        return;
    };
    loop {
        let Some(calls) = handle.query(Node::calls).await else {
            return;
        };
        for call in calls {
            tokio::spawn(keep(handle.clone(), tls.clone(), call));
        }
        dial.notified().await;
    }
}

/// One link, as long as it wants a stream: dial, talk, and after a failure wait a little.
async fn keep(handle: Handle, tls: Tls, call: Call) {
    let link = call.link;
    let mut pause = AGAIN.0;
    loop {
        let (peer, started) = (call.peer, std::time::Instant::now());
        match timeout(PATIENCE, open(&handle, &tls, &call)).await {
            Ok(Ok((certificate, peer_link, inbound, outbound))) => {
                let names = (link, (peer, certificate), peer_link);
                stream::run(handle.clone(), names, inbound, outbound).await;
            }
            other => {
                let why = match other {
                    Ok(Err(why)) => why,
                    _ => "the neighbour does not answer in time".to_owned(),
                };
                let text = why.clone();
                let news = handle.query(move |node| node.call_failed(link, text)).await;
                if news == Some(true) {
                    info!(adjacency = link.0, %peer, why, "no session yet");
                } else {
                    debug!(adjacency = link.0, %peer, why, "no session yet");
                }
            }
        }
        // A stream that held was a success; what ends at once, again and again, is dialled more slowly.
        if started.elapsed() > Duration::from_secs(5) {
            pause = AGAIN.0;
        }
        let peer = call.peer;
        let revoked = handle.query(move |node| node.root.has_revoked_node(peer));
        let revoked = revoked.await == Some(true);
        sleep(if revoked { REVOKED } else { pause }).await;
        pause = (pause * 2).min(AGAIN.1);
        let same = (call.peer, call.local, call.remote.ip());
        let wanted = handle.query(move |node| {
            node.links.get(&link).is_some_and(|link| {
                let now = link
                    .adjacency
                    .session
                    .map(|(local, remote)| (link.adjacency.settings.peer, local, remote));
                link.hello && !matches!(link.session, LinkSession::Up(_)) && now == Some(same)
            })
        });
        if wanted.await != Some(true) {
            break;
        }
    }
    handle.query(move |node| node.call_over(link)).await;
}

type Opened = (
    Certificate,
    AdjacencyId,
    tonic::Streaming<v1::NeighbourMessage>,
    mpsc::Sender<Result<v1::NeighbourMessage, Status>>,
);

async fn open(handle: &Handle, tls: &Tls, call: &Call) -> Result<Opened, String> {
    let shown = Shown::new(tls.root_der())?;
    let endpoint = Endpoint::from_shared(format!("https://{}", call.remote))
        .and_then(|endpoint| {
            let client = tls.client_with_verifier(&node_dns(call.peer));
            endpoint.tls_config_with_verifier(client, Arc::clone(&shown) as _)
        })
        .map_err(|error| error.to_string())?
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .local_address(Some(call.local));
    let channel = endpoint.connect().await.map_err(|error| reason(&error))?;
    // TLS has checked the name; who it is, and since when, is in the certificate, as at the accepting end.
    let der = shown.certificate().unwrap_or_default().to_vec();
    let peer = call.peer;
    let known = handle.query(move |node| {
        let certificate =
            node.root
                .certificate(&der, wall().as_secs())
                .map_err(|error| match error {
                    VerifyError::Revoked => GreetError::Revoked(peer).to_string(),
                    error => format!("the neighbour's certificate is not taken: {error}"),
                })?;
        match &certificate.identity {
            Identity::Node { id, .. } if *id == peer => Ok(certificate),
            other => Err(format!("{other} answers, and not node {peer}")),
        }
    });
    let certificate = known.await.ok_or("this control plane is ending")??;
    let mut client = LinkStateClient::new(channel)
        .max_decoding_message_size(LINKSTATE_MESSAGE)
        .max_encoding_message_size(2 * LINKSTATE_MESSAGE);
    let (outbound, messages) = mpsc::channel(1);
    // Whoever dials ends a stream without a word.
    let messages = ReceiverStream::new(messages).map_while(Result::ok);
    let hello = v1::NeighbourMessage {
        message: Some(Wire::Hello(call.hello.clone())),
    };
    // The channel is empty, so there is a place.
    let _ = outbound.try_send(Ok(hello));
    let reply = client.exchange(messages).await;
    let mut inbound = reply
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let first = inbound
        .message()
        .await
        .map_err(|status| status.message().to_owned())?;
    let Some(Wire::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err("the neighbour's first message is no hello".to_owned());
    };
    let checked = handle
        .query(move |node| node.check_hello(&hello, peer))
        .await;
    let checked = checked.ok_or("this control plane is ending")?;
    let peer_link = checked.map_err(|error| error.to_string())?;
    Ok((certificate, peer_link, inbound, outbound))
}

/// The innermost cause: the outer ones say "transport error".
fn reason(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}
