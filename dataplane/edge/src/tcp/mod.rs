//! Connections that arrive redirected: HTTP, or bytes.

mod call;
mod detect;
mod tunnel;

pub use detect::{Detected, Protocol, Rewound, detect};
pub use tunnel::{End, Replay, Spliced, abort, prepare, splice};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dmsc_wire::NameBuf;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use crate::outbound::{self, NameSource};
use crate::pod::{Context, Phase};
use crate::redirect::original_destination;
use crate::stats::ConnectionKind;

/// Accepts redirected connections until the pod's phase is no longer `Running`.
pub async fn run(listener: TcpListener, context: Arc<Context>) {
    let user = match &context.shared.names {
        Some(names) => tokio::select! {
            user = names.gate().enter() => Some(user),
            () = context.until(Phase::Draining) => return,
        },
        None => None,
    };
    tokio::select! {
        () = accept(&listener, &context) => {}
        () = context.until(Phase::Draining) => {}
    }
    drop(user);
}

async fn accept(listener: &TcpListener, context: &Arc<Context>) {
    loop {
        let (tcp, place) = outbound::accept(listener, context).await;
        let Some(name) = name_of(&tcp, context) else {
            debug!(
                pod = context.identity(),
                "a connection that stands for no name is reset"
            );
            context.shared.stats.error("no-name");
            abort(tcp);
            continue;
        };
        let context = Arc::clone(context);
        tokio::spawn(async move {
            serve(tcp, name, context).await;
            drop(place);
        });
    }
}

/// The name that a connection was for, by the address that the program connected to.
fn name_of(tcp: &TcpStream, context: &Context) -> Option<NameBuf> {
    let wanted = original_destination(tcp).ok()??;
    let mut redirects = context.shared.config.redirects.iter();
    if let Some(found) = redirects.find(|one| same(one.address, wanted)) {
        return Some(found.name.clone());
    }
    match wanted.ip().to_canonical() {
        IpAddr::V4(address) => context.shared.names.as_ref()?.name_of(address),
        IpAddr::V6(_) => None,
    }
}

/// A listener on all addresses sees IPv4 in IPv6.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip().to_canonical(), one.port()) == (other.ip().to_canonical(), other.port())
}

/// Carries one connection to `name`: HTTP if it begins so, bytes otherwise.
pub async fn serve(mut tcp: TcpStream, name: NameBuf, context: Arc<Context>) {
    prepare(&tcp);
    let found = match detect(&mut tcp).await {
        Ok(found) => found,
        Err(error) => {
            debug!(pod = context.identity(), %name, %error, "a connection ended before it said anything");
            return;
        }
    };
    match found.protocol {
        Protocol::Http1 | Protocol::Http2 => {
            let io = Rewound::new(found.first, tcp);
            outbound::http::serve(io, NameSource::Fixed(name), context).await;
        }
        Protocol::Bytes => {
            let _open = context.shared.stats.opened(ConnectionKind::Tcp);
            call::carry(tcp, found.first, &name, &context).await;
        }
    }
}
