//! Who changed what by hand: one line of the journal, target "audit", for every changing call of the file's part of the API, refused ones too.

use dmsc_proto::v1;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};
use tracing::info;

/// Writes one call down; `generation` is that of the tables then.
pub fn record<T>(
    request: &Request<T>,
    call: &str,
    generation: u64,
    result: &Result<v1::AgentConfigReply, Status>,
) {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    let who = peer.map_or_else(
        || "a process that the kernel does not name".to_owned(),
        |peer| match peer.pid() {
            Some(pid) => format!("uid {} (pid {pid})", peer.uid()),
            None => format!("uid {}", peer.uid()),
        },
    );
    let (what, outcome) = match result {
        Ok(reply) => (reply.diff.join("; "), "ok"),
        Err(status) => (String::new(), status.message()),
    };
    info!(
        target: "audit",
        who, call, what, outcome, generation, "audit"
    );
}
