//! One connection to whatever is called, and a call on it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::http::column::Protocol;

/// A call that brought no right answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection or the call broke.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
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
    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let host = self.hosts[(number % self.hosts.len() as u64) as usize].as_str();
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

    async fn check(&self, response: Response<hyper::body::Incoming>) -> Result<(), CallError> {
        if response.status() != 200 {
            return Err(CallError::Status(response.status().as_u16().to_string()));
        }
        let status = response.headers().get(GRPC_STATUS).cloned();
        let body = response.into_body().collect().await?;
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

/// The method that the server has.
const GRPC_PATH: &str = "/dmsc.perf.Page/Get";
/// Where gRPC tells how a call went.
pub const GRPC_STATUS: &str = "grpc-status";

/// A connection, or one of those that share it.
#[derive(Debug)]
pub enum Caller {
    /// HTTP/1.1: one call at a time.
    H1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2: shared.
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Caller {
    /// Connects. The connection runs as a task of its own on the current runtime.
    pub async fn connect(target: SocketAddr, protocol: Protocol) -> Result<Self, CallError> {
        let stream = TcpStream::connect(target).await?;
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

    /// Another user of the same connection; none if it cannot be shared.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::H1(_) => None,
            Self::H2(sender) => Some(Self::H2(sender.clone())),
        }
    }

    /// One call, its answer read to the end and checked.
    pub async fn call(&mut self, question: &Question, number: u64) -> Result<(), CallError> {
        let request = question.request(number)?;
        let response = match self {
            Self::H1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        question.check(response).await
    }
}
