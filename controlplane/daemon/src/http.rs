//! A little HTTP for readers: GET only, one answer a connection, few readers at a time, none of them slow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::warn;

/// A reader that is slower is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest head of a request.
const MAX_HEAD: usize = 16 << 10;
/// After the system refused a connection, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);

/// An answer with everything in it.
pub type Answer = Response<Full<Bytes>>;

/// Answers GET and HEAD until the process ends; other methods are refused here. At most `readers` at a time: more wait in the kernel's queue.
pub async fn serve<S, R>(listener: TcpListener, readers: usize, source: S)
where
    S: Fn(Request<()>) -> R + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let readers = Arc::new(Semaphore::new(readers));
    let source = Arc::new(source);
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a reader was not let in");
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let source = Arc::clone(&source);
                async move {
                    Ok::<_, Infallible>(match *request.method() {
                        Method::GET | Method::HEAD => source(request.map(|_| ())).await,
                        _ => text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n"),
                    })
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A reader that goes away, or is too slow, loses nothing but its answer.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(permit);
        });
    }
}

/// An answer of this media type.
pub fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
