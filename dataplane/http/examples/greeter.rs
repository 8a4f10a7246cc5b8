//! A tonic service and its client over names. Any gRPC program can take either part, through an edge: see greeter.proto.
//!
//! ```text
//! greeter --gateway 10.1.4.1 --identity pod4/greeter --credentials /etc/dmsc/pods/greeter --name dmsc://shop/greeter serve
//! greeter --gateway 10.1.1.1 --identity pod1/web --credentials /etc/dmsc/pods/web --name dmsc://shop/greeter call --count 1000 --chat 10
//! ```

mod shared;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};
use dmsc_http::{Listener, Peer, channel};
use dmsc_quic::Endpoint;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use shared::Cli;

#[allow(missing_docs)]
mod proto {
    tonic::include_proto!("dmsc.examples");
}

use proto::greeter_client::GreeterClient;
use proto::greeter_server::{Greeter, GreeterServer};
use proto::{HelloOftenRequest, HelloReply, HelloRequest};

/// Most answers to one `HelloOften`.
const OFTEN: u32 = 100_000;

#[derive(Debug, Subcommand)]
enum Command {
    /// Greet whoever calls
    Serve,
    /// Be greeted
    Call(Call),
}

/// Calls to make.
#[derive(Debug, Args)]
pub struct Call {
    /// Who is to be greeted
    #[arg(long, default_value = "world")]
    pub who: String,
    /// Unary calls, one after the other
    #[arg(long, default_value_t = 1)]
    pub count: u32,
    /// Messages each way on one bidirectional stream
    #[arg(long, default_value_t = 3)]
    pub chat: u32,
    /// Deadline of each unary call in ms
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    pub timeout: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::<Command>::parse();
    shared::block_on(async {
        match cli.command {
            Command::Serve => {
                let endpoint = cli.pod.endpoint(true).await?;
                serve(&endpoint, shared::leave(&endpoint)).await
            }
            Command::Call(call) => {
                let endpoint = cli.pod.endpoint(false).await?;
                call.run(&endpoint, cli.pod.uri()?).await
            }
        }
    })
}

/// Greets until it is to leave.
pub async fn serve(
    endpoint: &Arc<Endpoint>,
    leave: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let host = Host {
        gateway: endpoint.pod().registered().gateway.to_string(),
    };
    let listener = Listener::new(endpoint);
    shared::tell(endpoint);
    // Over TCP this line is `.serve("0.0.0.0:50051".parse()?)`.
    Server::builder()
        .add_service(GreeterServer::new(host))
        .serve_with_incoming_shutdown(listener, leave)
        .await?;
    endpoint.close().await;
    Ok(())
}

impl Call {
    /// Calls the name and checks the answers.
    pub async fn run(self, endpoint: &Arc<Endpoint>, uri: &str) -> anyhow::Result<()> {
        // Over TCP this line is `GreeterClient::connect("http://10.0.0.7:50051").await?`.
        let mut client = GreeterClient::new(channel(endpoint, uri)?);
        let begun = Instant::now();
        for at in 0..self.count {
            let mut request = Request::new(HelloRequest {
                name: self.who.clone(),
            });
            request.set_timeout(Duration::from_millis(self.timeout));
            let message = client.hello(request).await?.into_inner().message;
            ensure!(
                message.contains(&self.who),
                "another was greeted: {message}"
            );
            if at == 0 {
                println!("{message}");
            }
        }
        println!("{} calls in {:?}", self.count, begun.elapsed());
        let (say, said) = mpsc::channel(1);
        let mut replies = client.chat(ReceiverStream::new(said)).await?.into_inner();
        for at in 0..self.chat {
            let name = format!("{} {at}", self.who);
            say.send(HelloRequest { name: name.clone() }).await?;
            let message = replies.message().await?.map(|reply| reply.message);
            ensure!(
                message.as_ref().is_some_and(|text| text.contains(&name)),
                "no answer to {name:?}, but {message:?}"
            );
        }
        drop(say);
        ensure!(
            replies.message().await?.is_none(),
            "more answers than questions"
        );
        println!("{} messages each way", self.chat);
        endpoint.close().await;
        Ok(())
    }
}

/// Greets.
struct Host {
    gateway: String,
}

impl Host {
    fn greet<T>(&self, request: &Request<T>) -> Greeting {
        let peer = request.extensions().get::<Peer>();
        Greeting {
            from: format!(
                "{}, from gateway {}",
                peer.map_or("stranger", |peer| &*peer.identity),
                self.gateway
            ),
        }
    }
}

struct Greeting {
    from: String,
}

impl Greeting {
    fn to(&self, name: &str) -> HelloReply {
        HelloReply {
            message: format!("Hello {name} of {}", self.from),
        }
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;

#[tonic::async_trait]
impl Greeter for Host {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let greeting = self.greet(&request);
        Ok(Response::new(greeting.to(&request.get_ref().name)))
    }

    type ChatStream = Replies;
    async fn chat(
        &self,
        request: Request<Streaming<HelloRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let greeting = self.greet(&request);
        let replies = request
            .into_inner()
            .map(move |one| Ok(greeting.to(&one?.name)));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn hello_all(
        &self,
        request: Request<Streaming<HelloRequest>>,
    ) -> Result<Response<HelloReply>, Status> {
        let greeting = self.greet(&request);
        let mut all = request.into_inner();
        let mut count = 0_u64;
        while all.message().await?.is_some() {
            count += 1;
        }
        Ok(Response::new(greeting.to(&format!("all {count}"))))
    }

    type HelloOftenStream = Replies;
    async fn hello_often(
        &self,
        request: Request<HelloOftenRequest>,
    ) -> Result<Response<Replies>, Status> {
        let greeting = self.greet(&request);
        let HelloOftenRequest { name, count } = request.into_inner();
        if count > OFTEN {
            return Err(Status::invalid_argument(format!(
                "count: {count} is more than {OFTEN}"
            )));
        }
        let replies = (0..count).map(move |_| Ok(greeting.to(&name)));
        Ok(Response::new(Box::pin(tokio_stream::iter(replies))))
    }
}
