//! Calls for the pod's programs: each stream is one TCP connection to the program that serves the name.

mod splice;
mod stream;

use std::sync::Arc;

use dmsc_http::preface::Code;
use dmsc_quic::{Connection, Listener};
use tracing::debug;

use crate::pod::{Context, Phase};
use crate::stats::Direction;

/// Accepts connections of callers until the pod ends.
pub async fn run(listener: Listener, context: Arc<Context>) {
    let accepting = async {
        while let Some(connection) = listener.accept().await {
            tokio::spawn(serve(connection, Arc::clone(&context)));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = context.until(Phase::Ended) => {}
    }
}

/// Takes the streams of one caller. When it is time, the caller is told to go elsewhere; and when its program falls ill, because the caller keeps streams
/// for the calls to come, which no refusal of new streams would meet.
async fn serve(connection: Connection, context: Arc<Context>) {
    let drain = async {
        tokio::select! {
            () = context.until(Phase::Draining) => {}
            () = falls_ill(&connection, &context) => {}
        }
        if let Err(error) = connection.drain().await {
            debug!(caller = connection.peer_identity(), %error, "a caller's connection is over already");
        }
        // It ends its connection with its last stream.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = streams(&connection, &context) => {}
        () = drain => {}
    }
}

/// Returns when the program falls ill that the caller of this connection calls.
async fn falls_ill(connection: &Connection, context: &Context) {
    match context.serving(connection.name()) {
        Some(served) => served.falls_ill().await,
        None => std::future::pending().await,
    }
}

async fn streams(connection: &Connection, context: &Arc<Context>) {
    let quic = context.shared.stats.quic(Direction::In, connection.clone());
    loop {
        let mut stream = match connection.accept_bi().await {
            Ok(stream) => stream,
            Err(error) => {
                return debug!(caller = connection.peer_identity(), %error, "a caller's connection is over");
            }
        };
        if *context.phase.borrow() > Phase::Running {
            Code::Draining.break_off(&mut stream);
            continue;
        }
        let Ok(permit) = Arc::clone(&context.called).try_acquire_owned() else {
            context.shared.stats.error(Code::Overloaded.as_str());
            Code::Overloaded.break_off(&mut stream);
            continue;
        };
        let (context, quic) = (Arc::clone(context), Arc::clone(&quic));
        tokio::spawn(async move {
            stream::serve(stream, &quic, &context).await;
            drop(permit);
        });
    }
}
