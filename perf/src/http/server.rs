//! The server that every column calls: pages of one length, over HTTP/1.1 and HTTP/2, plain and as unary gRPC. One thread.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use dmsc_wire::NameBuf;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::load::GRPC_STATUS;
use super::membership::Membership;
use super::ours;

/// A page, with trailers if gRPC wants them.
#[derive(Debug)]
pub struct Page {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(
            data.or_else(|| self.trailers.take().map(Frame::trailers))
                .map(Ok),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |d| d.len() as u64))
    }
}

/// The two answers.
#[derive(Debug, Clone)]
pub struct Pages {
    page: Bytes,
    message: Bytes,
}

impl Pages {
    /// Pages of `size` bytes.
    pub fn new(size: usize) -> Self {
        let page: Vec<u8> = (0..size).map(|n| b'a' + (n % 26) as u8).collect();
        let mut message = vec![0];
        message.extend(u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        message.extend(&page);
        Self {
            page: page.into(),
            message: message.into(),
        }
    }

    /// The answer to `request`: a message if it is gRPC, else a page.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Page> {
        let grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let mut response = Response::new(Page {
            data: Some(if grpc { &self.message } else { &self.page }.clone()),
            trailers: grpc.then(|| {
                HeaderMap::from_iter([(
                    hyper::header::HeaderName::from_static(GRPC_STATUS),
                    HeaderValue::from_static("0"),
                )])
            }),
        });
        let kind = if grpc {
            "application/grpc"
        } else {
            "text/plain"
        };
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

/// Serves on `listen` until the process ends; `ready` is told the address.
///
/// # Errors
/// When it cannot listen.
pub fn run(listen: SocketAddr, size: usize, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| anyhow::anyhow!("cannot listen on {listen}: {error}"))?;
        ready(listener.local_addr()?);
        let pages = Pages::new(size);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, perhaps: others may end meanwhile.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            tokio::spawn(connection(stream, pages.clone()));
        }
    })
}

/// Serves `services` services on names, as the pod `membership`, until the process is ended.
///
/// # Errors
/// When it cannot register.
pub fn run_on_names(membership: &Membership, services: usize, size: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let names = (0..services).map(|number| NameBuf::parse(&ours::name(number)));
        let endpoint = membership
            .endpoint(names.collect::<Result<_, _>>()?)
            .await?;
        let mut listener = dmsc_http::Listener::new(&endpoint);
        let pages = Pages::new(size);
        while let Some(stream) = listener.next().await {
            tokio::spawn(connection(stream, pages.clone()));
        }
        Ok(())
    })
}

/// Serves one connection to its end.
async fn connection<T>(stream: T, pages: Pages)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let response = pages.answer(&request);
        async move {
            // Read to its end: a request that is answered before would be reset.
            request.into_body().collect().await?;
            Ok::<_, hyper::Error>(response)
        }
    });
    // A client that goes away in the middle is no concern of the server's.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
