//! Programs that serve, on plain TCP: what they are asked for is in the path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A body of pieces, with trailers or without.
pub struct Pieces {
    left: u64,
    piece: Bytes,
    trailers: Option<HeaderMap>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.left > 0 {
            let step = this.left.min(this.piece.len() as u64);
            this.left -= step;
            return Poll::Ready(Some(Ok(Frame::data(this.piece.slice(..step as usize)))));
        }
        Poll::Ready(
            this.trailers
                .take()
                .map(|trailers| Ok(Frame::trailers(trailers))),
        )
    }
}

/// A program, and what it has seen.
pub struct Program {
    pub at: SocketAddr,
    pub calls: Arc<AtomicU32>,
    pub connections: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Program {
    /// HTTP/1.1 and HTTP/2; says `who` it is.
    pub async fn start(who: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (calls, connections) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let (seen, accepted) = (Arc::clone(&calls), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            // They end with the program.
            let mut all = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, accepted) = (Arc::clone(&seen), Arc::clone(&accepted));
                all.spawn(async move {
                    // A health check says nothing.
                    if stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
                        accepted.fetch_add(1, Relaxed);
                    }
                    let service = service_fn(move |request| {
                        seen.fetch_add(1, Relaxed);
                        answer(who, request)
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    let _ = server.serve_connection_with_upgrades(io, service).await;
                });
            }
        });
        Self {
            at,
            calls,
            connections,
            task,
        }
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn pieces(left: u64) -> Pieces {
    Pieces {
        left,
        piece: Bytes::from(vec![b'x'; 65_536]),
        trailers: None,
    }
}

fn text(text: String) -> Pieces {
    Pieces {
        left: text.len() as u64,
        piece: text.into(),
        trailers: None,
    }
}

async fn answer(
    who: &'static str,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let (parts, mut body) = request.into_parts();
    let answer = match path.as_str() {
        // Length of the body, read piece by piece.
        "/count" => {
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(std::io::Error::other)?;
                bytes += frame.data_ref().map_or(0, Bytes::len);
            }
            text(format!("{who} {bytes}"))
        }
        "/large" => pieces(100 << 20),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-after", HeaderValue::from_static("all"));
            let mut pieces = pieces(5);
            pieces.trailers = Some(trailers);
            pieces
        }
        "/silence" => std::future::pending().await,
        // Takes the request, and closes the connection.
        "/drop" => return Err(std::io::Error::other("dropped")),
        "/headers" => text(format!("{:?} {:?}", parts.version, parts.headers)),
        _ => text(format!("{who} {} {path}", parts.method)),
    };
    let mut response = Response::new(match parts.method {
        Method::HEAD => pieces(0),
        _ => answer,
    });
    if path == "/400" {
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
    }
    if path == "/trailers" {
        let name = HeaderValue::from_static("x-after");
        response.headers_mut().insert("trailer", name);
    }
    Ok(response)
}
