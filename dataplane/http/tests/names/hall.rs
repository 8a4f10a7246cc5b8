//! A tonic service to call, which counts what it was told.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dmsc_http::{Channel, Listener, Peer, channel};
use dmsc_quic::Endpoint;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::world::World;

#[allow(missing_docs)]
pub mod proto {
    tonic::include_proto!("dmsc.examples");
}

use proto::greeter_client::GreeterClient;
use proto::greeter_server::{Greeter, GreeterServer};
use proto::{HelloOftenRequest, HelloReply, HelloRequest};

/// What is called in all tests.
pub const NAME: &str = "/shop/cart";
pub const URI: &str = "dmsc://shop/cart";

/// What an instance has seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Calls that began.
    pub begun: watch::Sender<u32>,
    /// Calls that were given up by the caller.
    pub dropped: watch::Sender<u32>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            begun: watch::Sender::new(0),
            dropped: watch::Sender::new(0),
        }
    }
}

/// Until it has this value.
pub async fn reaches(value: &watch::Sender<u32>, count: u32) {
    let mut receiver = value.subscribe();
    let reached = receiver.wait_for(|now| *now >= count);
    tokio::time::timeout(Duration::from_secs(10), reached)
        .await
        .unwrap()
        .unwrap();
}

struct Given(watch::Sender<u32>);

impl Drop for Given {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// An instance of the service.
pub struct Hall {
    pub endpoint: Arc<Endpoint>,
    pub seen: Seen,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Hall {
    pub async fn open(world: &World, identity: &'static str) -> Self {
        let endpoint = serving(world, identity).await;
        let seen = Seen::default();
        let greeter = GreeterServer::new(Host {
            identity,
            seen: seen.clone(),
        });
        let listener = Listener::new(&endpoint);
        let (leave, left) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(greeter);
            let left = async { drop(left.await) };
            let serve = server.serve_with_incoming_shutdown(listener, left);
            serve.await.unwrap();
        });
        Self {
            endpoint,
            seen,
            leave: Some(leave),
            task,
        }
    }

    /// Takes nothing new, and ends when what runs has ended.
    pub fn leave(&mut self) {
        self.leave.take();
    }

    pub fn begun(&self) -> u32 {
        *self.seen.begun.borrow()
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An endpoint of a pod that serves the name, and can prove it.
pub async fn serving(world: &World, identity: &str) -> Arc<Endpoint> {
    let proof = world.proof(identity, NAME, |_| {});
    let endpoint = world.endpoint((identity, identity), &[NAME], vec![proof]);
    Arc::new(endpoint.await)
}

/// A client of its own pod.
pub async fn caller(world: &World) -> (Arc<Endpoint>, GreeterClient<Channel>) {
    let endpoint = Arc::new(world.client().await);
    let client = GreeterClient::new(channel(&endpoint, URI).unwrap());
    (endpoint, client)
}

pub fn hello(name: impl Into<String>) -> HelloRequest {
    HelloRequest { name: name.into() }
}

struct Host {
    identity: &'static str,
    seen: Seen,
}

impl Host {
    fn greet(&self, name: &str) -> HelloReply {
        HelloReply {
            message: format!("hello {name} from {}", self.identity),
        }
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;

#[tonic::async_trait]
impl Greeter for Host {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        self.seen.begun.send_modify(|count| *count += 1);
        let peer = request.extensions().get::<Peer>().unwrap().clone();
        match request.get_ref().name.as_str() {
            "who" => Ok(Response::new(HelloReply {
                message: format!("{} called {}", peer.identity, peer.name),
            })),
            "silence" => {
                let _given = Given(self.seen.dropped.clone());
                std::future::pending().await
            }
            "nobody" => {
                let mut status = Status::new(Code::NotFound, "nobody is here");
                status
                    .metadata_mut()
                    .insert("looked", "twice".parse().unwrap());
                Err(status)
            }
            name => {
                let mut reply = Response::new(self.greet(name));
                reply.metadata_mut().insert("mood", "good".parse().unwrap());
                Ok(reply)
            }
        }
    }

    type ChatStream = Replies;
    async fn chat(
        &self,
        request: Request<Streaming<HelloRequest>>,
    ) -> Result<Response<Replies>, Status> {
        self.seen.begun.send_modify(|count| *count += 1);
        let identity = self.identity;
        let replies = request.into_inner().map(move |one| {
            let name = one?.name;
            if name == "stop" {
                return Err(Status::aborted("stopped"));
            }
            let message = format!("hello {name} from {identity}");
            Ok(HelloReply { message })
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn hello_all(
        &self,
        request: Request<Streaming<HelloRequest>>,
    ) -> Result<Response<HelloReply>, Status> {
        let mut all = request.into_inner();
        let mut names = 0;
        let mut bytes = 0;
        while let Some(one) = all.message().await? {
            names += 1;
            bytes += one.name.len();
        }
        Ok(Response::new(
            self.greet(&format!("{names} of {bytes} bytes")),
        ))
    }

    type HelloOftenStream = Replies;
    async fn hello_often(
        &self,
        request: Request<HelloOftenRequest>,
    ) -> Result<Response<Replies>, Status> {
        let HelloOftenRequest { name, count } = request.into_inner();
        let identity = self.identity;
        let replies = (0..count).map(move |at| {
            Ok(HelloReply {
                message: format!("hello {name} {at} from {identity}"),
            })
        });
        Ok(Response::new(Box::pin(iter(replies.collect::<Vec<_>>()))))
    }
}
