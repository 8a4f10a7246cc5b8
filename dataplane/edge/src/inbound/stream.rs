//! One stream of a caller: to which program, and how it went.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dmsc_http::preface::{self, Code};
use dmsc_quic::Stream;
use tokio::net::TcpStream;
use tracing::debug;

use super::splice::{self, End};
use crate::pod::{Context, Served};
use crate::record::AccessRecord;
use crate::stats::{Class, ConnectionKind, Direction, Protocol, QuicConnection};

/// A program that takes a connection later than this takes none.
const CONNECT: Duration = Duration::from_secs(1);
/// A caller says at once what it wants.
const PREFACE: Duration = Duration::from_secs(10);

/// Carries one stream to its end.
pub async fn serve(mut stream: Stream, quic: &Arc<QuicConnection>, context: &Arc<Context>) {
    match tokio::time::timeout(PREFACE, preface::read(&mut stream)).await {
        Ok(Ok(preface::Kind::Bytes)) => {}
        Ok(Err(error)) => {
            debug!(caller = quic.connection.peer_identity(), %error, "a stream that cannot be read");
            return Code::BadPreface.break_off(&mut stream);
        }
        Err(_) => return Code::BadPreface.break_off(&mut stream),
    }
    let began = (Instant::now(), SystemTime::now());
    let Some(served) = context.serving(quic.connection.name()) else {
        context.shared.stats.error(Code::NotServed.as_str());
        return Code::NotServed.break_off(&mut stream);
    };
    let counted = quic.stream();
    served.stats.begin();
    let outcome = carry(&mut stream, served, context).await;
    drop(counted);
    let (class, error, bytes) = match outcome {
        Ok(bytes) => (Class::Success, None, bytes),
        Err((code, bytes)) => {
            context.shared.stats.error(code.as_str());
            (Class::ServerError, Some(code.as_str()), bytes)
        }
    };
    let duration = began.0.elapsed();
    served.stats.end(Protocol::Tcp, class, duration);
    if context.log.enabled() {
        context.log.write(AccessRecord {
            began: began.1,
            direction: Direction::In,
            pod: context.identity().to_owned(),
            peer: quic.connection.peer_identity().to_owned(),
            name: Some(quic.connection.name().clone()),
            instance: quic.connection.instance(),
            protocol: Protocol::Tcp,
            method: None,
            path: None,
            status: None,
            grpc_status: None,
            error,
            attempts: 1,
            bytes_in: bytes.0,
            bytes_out: bytes.1,
            duration,
            trace_id: None,
        });
    }
}

type Bytes = (u64, u64);

async fn carry(
    stream: &mut Stream,
    served: &Arc<Served>,
    context: &Context,
) -> Result<Bytes, (Code, Bytes)> {
    if !served.is_healthy() {
        Code::Unhealthy.break_off(stream);
        return Err((Code::Unhealthy, (0, 0)));
    }
    let to = served.serve.to;
    let program = match tokio::time::timeout(CONNECT, TcpStream::connect(to)).await {
        Ok(Ok(program)) => program,
        failed => {
            debug!(%to, error = ?failed.err(), "the program takes no connection");
            Code::NobodyListens.break_off(stream);
            return Err((Code::NobodyListens, (0, 0)));
        }
    };
    let _open = context.shared.stats.opened(ConnectionKind::Served);
    if let Err(error) = program.set_nodelay(true) {
        debug!(%to, %error, "the program's connection is gone already");
    }
    let (send, recv) = stream.parts();
    let (end, bytes) = splice::both(send, recv, program).await;
    match end {
        End::Whole => Ok(bytes),
        End::Caller | End::Program => Err((Code::Gone, bytes)),
    }
}
