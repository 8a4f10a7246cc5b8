//! gRPC by tonic: all kinds of streaming, deadlines, and failures in its own kind.

use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::rig::{Edge, LIMIT, edge};
use crate::world::World;

/// Words go there, and come back; by hand, so that no build script is needed.
#[derive(Clone)]
struct Echo;

type Words = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

impl tonic::server::StreamingService<String> for Echo {
    type Response = String;
    type ResponseStream = Words;
    type Future = BoxFuture<Response<Words>, Status>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async move {
            let words = request.into_inner().map(|word| match word?.as_str() {
                "fail" => Err(Status::data_loss("as asked")),
                word => Ok(word.to_uppercase()),
            });
            Ok(Response::new(Box::pin(words) as Words))
        })
    }
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl<B> Service<http::Request<B>> for Echo
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            if request.uri().path().ends_with("/Silence") {
                std::future::pending::<()>().await;
            }
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.streaming(echo, request).await)
        })
    }
}

async fn program() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(Echo)
            .serve_with_incoming(incoming),
    );
    at
}

async fn client(edge: &Edge, host: &str) -> Grpc<Channel> {
    let channel = Endpoint::from_shared(format!("http://{}", edge.http)).unwrap();
    let origin = format!("http://{host}").parse().unwrap();
    let channel = channel.origin(origin).connect().await.unwrap();
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    grpc
}

fn path(method: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(method)
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

#[tokio::test]
async fn all_kinds_of_calls() {
    let world = World::new().await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program().await)]).await;
    let caller = edge(&world, "web", &[]).await;
    let mut grpc = client(&caller, "cart.shop.dmsc").await;
    let both_ways = async {
        let (said, words) = tokio::sync::mpsc::channel(1);
        let words = tokio_stream::wrappers::ReceiverStream::new(words);
        let call = grpc.streaming(Request::new(words), path("/test.Echo/Chat"), codec());
        let mut heard = call.await.unwrap().into_inner();
        // Each word is answered before the next is said.
        for word in ["a", "b", "c"] {
            said.send(word.to_owned()).await.unwrap();
            let answer = heard.message().await.unwrap().unwrap();
            assert_eq!(answer, word.to_uppercase());
        }
        drop(said);
        assert!(heard.message().await.unwrap().is_none());
        for _ in 0..100 {
            grpc.ready().await.unwrap();
            let call = grpc.unary(
                Request::new("hello".to_owned()),
                path("/test.Echo/Say"),
                codec(),
            );
            assert_eq!(call.await.unwrap().into_inner(), "HELLO");
        }
        grpc.ready().await.unwrap();
        let words = tokio_stream::iter(vec!["x".to_owned(), "fail".to_owned()]);
        let call = grpc.streaming(Request::new(words), path("/test.Echo/Chat"), codec());
        let mut heard = call.await.unwrap().into_inner();
        assert_eq!(heard.message().await.unwrap().unwrap(), "X");
        let status = heard.message().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DataLoss, "as asked")
        );
    };
    tokio::time::timeout(LIMIT, both_ways).await.unwrap();
    use dmsc_edge::stats::{Class, Direction, Protocol};
    let stats = &caller.context.shared.stats;
    let cart = stats.of(Direction::Out, Some(&crate::world::name("/shop/cart")));
    assert_eq!(cart.calls(Protocol::Grpc, Class::Success), 101);
    assert_eq!(cart.calls(Protocol::Grpc, Class::ServerError), 1);
}

#[tokio::test]
async fn failures_are_statuses() {
    let world = World::new().await;
    let caller = edge(&world, "web", &[]).await;
    let mut grpc = client(&caller, "cart.shop.dmsc").await;
    let call = grpc.unary(
        Request::new("x".to_owned()),
        path("/test.Echo/Say"),
        codec(),
    );
    let status = call.await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status
            .message()
            .contains("/shop/cart: nobody serves this name"),
        "{status}"
    );
    let mut grpc = client(&caller, "cart.shop.example").await;
    let call = grpc.unary(
        Request::new("x".to_owned()),
        path("/test.Echo/Say"),
        codec(),
    );
    assert_eq!(call.await.unwrap_err().code(), Code::InvalidArgument);
    let _server = edge(&world, "cart/a", &[("/shop/cart", program().await)]).await;
    let timeout = Duration::from_millis(300);
    let caller = crate::rig::edge_with(&world, "till", &[], timeout).await;
    let mut grpc = client(&caller, "cart.shop.dmsc").await;
    let call = grpc.unary(
        Request::new("x".to_owned()),
        path("/test.Echo/Silence"),
        codec(),
    );
    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_whose_instance_is_lost_ends_with_a_status() {
    let world = World::new().await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program().await)]).await;
    let caller = edge(&world, "web", &[]).await;
    let mut grpc = client(&caller, "cart.shop.dmsc").await;
    let (said, words) = tokio::sync::mpsc::channel(1);
    let words = tokio_stream::wrappers::ReceiverStream::new(words);
    said.send("a".to_owned()).await.unwrap();
    let call = grpc.streaming(Request::new(words), path("/test.Echo/Chat"), codec());
    let mut heard = call.await.unwrap().into_inner();
    assert_eq!(heard.message().await.unwrap().unwrap(), "A");
    world.gateway.detach(dmsc_wire::AttachmentId(1));
    // Routers are asked, and say that there is no way.
    said.send("b".to_owned()).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, heard.message()).await.unwrap();
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(
        status
            .message()
            .contains("/shop/cart: routers say that there is no way"),
        "{status}"
    );
    assert_eq!(
        status.metadata().get("dmsc-error").unwrap(),
        "lost-after-sent"
    );
}
