//! One connection to whatever is called, or the library's client, and a call on it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use dmsc_http::{Channel, Client, HttpError, name_of_host};
use dmsc_quic::Endpoint;
use dmsc_wire::NameBuf;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower::Service as _;

use crate::http::column::Protocol;
use crate::http::membership::Membership;

/// A call that brought no right answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection or the call broke.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// The library gave up.
    #[error("{0}")]
    Library(#[from] HttpError),
    /// gRPC over the library failed.
    #[error("{0}")]
    Channel(#[from] Box<tonic::Status>),
    /// A host that is no name.
    #[error("{0}")]
    Host(#[from] dmsc_http::host::HostError),
    /// The body of an answer broke off.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// A request that cannot be written.
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    /// An answer of another kind.
    #[error("status {0}")]
    Status(String),
    /// An answer of another length.
    #[error("an answer of another length than was asked for")]
    Length,
    /// gRPC says no.
    #[error("grpc-status {0}")]
    GrpcStatus(String),
}

/// What is asked, and what must be answered.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is spoken.
    pub protocol: Protocol,
    /// Hosts, in turn.
    pub hosts: Vec<String>,
    /// Length of the answer, bytes.
    pub size: usize,
}

impl Question {
    fn turn(&self, number: u64) -> usize {
        (number % self.hosts.len() as u64) as usize
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let host = self.hosts[self.turn(number)].as_str();
        match self.protocol {
            Protocol::H1 => Request::builder()
                .uri("/")
                .header(HOST, host)
                .body(Full::default()),
            Protocol::Grpc => Request::builder()
                .method(Method::POST)
                .uri(format!("http://{host}{GRPC_PATH}"))
                .header(CONTENT_TYPE, "application/grpc")
                .header(TE, "trailers")
                // One empty message.
                .body(Full::from(&[0_u8; 5][..])),
        }
    }

    async fn check<B>(&self, response: Response<B>) -> Result<(), CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        if response.status() != 200 {
            return Err(CallError::Status(response.status().as_u16().to_string()));
        }
        let status = response.headers().get(GRPC_STATUS).cloned();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| CallError::Body(error.to_string()))?;
        let trailers = body.trailers().and_then(|t| t.get(GRPC_STATUS)).cloned();
        let length = body.to_bytes().len();
        if self.protocol == Protocol::Grpc {
            let status = trailers.or(status);
            let text = status
                .as_ref()
                .map_or("absent", |s| s.to_str().unwrap_or("?"));
            if text != "0" {
                return Err(CallError::GrpcStatus(text.into()));
            }
            return (length == self.size + 5)
                .then_some(())
                .ok_or(CallError::Length);
        }
        (length == self.size).then_some(()).ok_or(CallError::Length)
    }
}

/// Calls that share an HTTP/2 connection.
const CALLS_PER_CONNECTION: usize = 16;
/// The method that the server has.
const GRPC_PATH: &str = "/dmsc.perf.Page/Get";
/// Where gRPC tells how a call went.
pub const GRPC_STATUS: &str = "grpc-status";

/// Where calls go.
#[derive(Debug, Clone)]
pub enum Target {
    /// To an address, whatever is behind it.
    Address(SocketAddr),
    /// To names, by the library, as this pod.
    Names(Membership),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Names(pod) => write!(f, "names as {}", pod.identity),
        }
    }
}

/// What all callers of a load have in common.
#[derive(Debug)]
pub enum Way {
    /// Nothing: each has a connection, or shares it with its neighbours.
    Address(SocketAddr),
    /// The library's end.
    Names(Arc<Endpoint>),
}

impl Way {
    /// Registers the pod, if there is one.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        Ok(match target {
            Target::Address(address) => Self::Address(*address),
            Target::Names(pod) => Self::Names(pod.endpoint(Vec::new()).await?),
        })
    }

    /// Ends what callers have in common.
    pub async fn close(self) {
        if let Self::Names(endpoint) = self {
            endpoint.close().await;
        }
    }
}

/// A connection, or one of those that share it.
#[derive(Debug)]
pub enum Caller {
    /// HTTP/1.1: one call at a time.
    H1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2: shared.
    H2(http2::SendRequest<Full<Bytes>>),
    /// The library, HTTP/1.1: it keeps its connections itself. A name for each host.
    Names(Client, Arc<[NameBuf]>),
    /// The library, gRPC: a channel for each host.
    Channels(Vec<Channel>),
}

impl Caller {
    /// Connects. The connection runs as a task of its own on the current runtime.
    pub async fn connect(way: &Way, question: &Question) -> Result<Self, CallError> {
        let endpoint = match way {
            Way::Address(address) => {
                return Self::connect_to(*address, question.protocol).await;
            }
            Way::Names(endpoint) => endpoint,
        };
        let names = question.hosts.iter().map(|host| name_of_host(host));
        let names = names.collect::<Result<Arc<[NameBuf]>, _>>()?;
        Ok(match question.protocol {
            Protocol::H1 => Self::Names(Client::new(endpoint), names),
            Protocol::Grpc => {
                let uri = |name: &NameBuf| format!("dmsc:/{name}");
                let channels = names.iter().map(|name| {
                    dmsc_http::channel(endpoint, &uri(name))
                        .map_err(|error| CallError::Body(error.to_string()))
                });
                Self::Channels(channels.collect::<Result<_, _>>()?)
            }
        })
    }

    async fn connect_to(address: SocketAddr, protocol: Protocol) -> Result<Self, CallError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        Ok(match protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Self::H1(sender)
            }
            Protocol::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Self::H2(sender)
            }
        })
    }

    /// Another user of the same connections; none if they cannot be shared, or not by one that is the `number`th of them.
    pub fn share(&self, number: usize) -> Option<Self> {
        match self {
            Self::H2(sender) if !number.is_multiple_of(CALLS_PER_CONNECTION) => {
                Some(Self::H2(sender.clone()))
            }
            Self::H1(_) | Self::H2(_) => None,
            Self::Names(client, names) => Some(Self::Names(client.clone(), Arc::clone(names))),
            Self::Channels(channels) => Some(Self::Channels(channels.clone())),
        }
    }

    /// Whether it must be made anew after a call failed.
    pub fn breaks(&self) -> bool {
        matches!(self, Self::H1(_) | Self::H2(_))
    }

    /// One call, its answer read to the end and checked.
    pub async fn call(&mut self, question: &Question, number: u64) -> Result<(), CallError> {
        let request = question.request(number)?;
        let turn = question.turn(number);
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                question.check(sender.send_request(request).await?).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                question.check(sender.send_request(request).await?).await
            }
            Self::Names(client, names) => {
                let response = client.send_to(&names[turn], request).await?;
                question.check(response).await
            }
            Self::Channels(channels) => {
                let request = request.map(tonic::body::Body::new);
                let response = channels[turn].call(request).await.map_err(Box::new)?;
                question.check(response).await
            }
        }
    }
}
