//! A blocking client of one agent.

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::PATIENCE;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime")
});

/// Talks to one agent.
pub struct Agent(DataplaneAgentClient<Channel>);

/// What the agent streams.
pub struct Events<T>(Streaming<T>);

impl<T> Events<T> {
    /// The next message; `None` when nothing comes for `patience`, or nothing more.
    pub fn next(&mut self, patience: Duration) -> Option<T> {
        RUNTIME
            .block_on(async { tokio::time::timeout(patience, self.0.message()).await })
            .ok()?
            .ok()?
    }

    /// The first message for which `pick` says something.
    pub fn until<U>(&mut self, what: &str, mut pick: impl FnMut(T) -> Option<U>) -> U {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next(left).map(&mut pick) {
                Some(Some(found)) => return found,
                Some(None) => {}
                None => panic!("{what}: not within {PATIENCE:?}"),
            }
        }
    }
}

impl Events<v1::Event> {
    /// Waits until an adjacency is in `state`.
    pub fn adjacency(&mut self, id: u32, state: &str) -> v1::Adjacency {
        self.until(&format!("adjacency {id} {state}"), |event| {
            match event.event {
                Some(v1::event::Event::Adjacency(a)) if a.id == id && a.state == state => Some(a),
                _ => None,
            }
        })
    }
}

macro_rules! call {
    ($agent:expr, $method:ident, $request:expr) => {
        RUNTIME
            .block_on($agent.0.clone().$method($request))
            .map(tonic::Response::into_inner)
    };
}

impl Agent {
    /// Connects to a socket that is there.
    pub fn connect(socket: &Path) -> Agent {
        let channel = RUNTIME
            .block_on(dmsc_proto::connect_unix(socket))
            .expect("agent");
        Agent(DataplaneAgentClient::new(channel))
    }

    /// Greets with a range of versions.
    pub fn greet(&self, version_min: u32, version_max: u32) -> Result<v1::GreetReply, Status> {
        let request = v1::GreetRequest {
            version_min,
            version_max,
            client: "tests".into(),
        };
        call!(self, greet, request)
    }

    /// A transaction that may be refused.
    pub fn try_apply(&self, ops: Vec<v1::op::Op>) -> Result<v1::TransactionAck, Status> {
        let request = v1::Transaction {
            programmer: "tests".into(),
            ops: ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect(),
        };
        call!(self, apply, request)
    }

    /// A transaction that must be accepted, and seen by every worker.
    pub fn apply(&self, ops: Vec<v1::op::Op>) -> v1::TransactionAck {
        let ack = self.try_apply(ops).expect("transaction");
        assert!(ack.observed, "every worker has seen the generation");
        ack
    }

    /// A transaction that must be refused as a bad argument; the message.
    pub fn refused(&self, ops: Vec<v1::op::Op>) -> String {
        let status = self.try_apply(ops).expect_err("must be refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status.message().to_string()
    }

    /// Checks, compares, applies or writes back a configuration.
    pub fn config(&self, action: &str, text: &str) -> Result<v1::AgentConfigReply, Status> {
        let request = v1::AgentConfigRequest {
            action: action.into(),
            text: text.into(),
        };
        call!(self, config, request)
    }

    /// One call of a hand-over.
    pub fn handover(&self, node: u32, release: bool) -> Result<Events<v1::HandoverReply>, Status> {
        let request = v1::HandoverRequest {
            version_min: 1,
            version_max: 1,
            node,
            release,
        };
        call!(self, handover, request).map(Events)
    }

    /// Everything programmed.
    pub fn dump(&self) -> v1::DumpReply {
        call!(self, dump, v1::DumpRequest { prefixes: true }).expect("dump")
    }

    /// Adjacencies with what their links are like.
    pub fn adjacencies(&self) -> Vec<v1::Adjacency> {
        let request = v1::ListAdjacenciesRequest {};
        call!(self, list_adjacencies, request)
            .expect("adjacencies")
            .adjacencies
    }

    /// One port.
    pub fn port(&self, name: &str) -> v1::Port {
        let all = call!(self, list_ports, v1::ListPortsRequest {}).expect("ports");
        let found = all.ports.into_iter().find(|p| p.name == name);
        found.expect("port")
    }

    /// All workers.
    pub fn workers(&self) -> Vec<v1::Worker> {
        call!(self, list_workers, v1::ListWorkersRequest {})
            .expect("workers")
            .workers
    }

    /// What was counted of calls.
    pub fn traffic(&self) -> v1::ListTrafficReply {
        call!(self, list_traffic, v1::ListTrafficRequest::default()).expect("traffic")
    }

    /// Says how long calls took.
    pub fn add_answers(&self, request: v1::AddAnswersRequest) -> Result<u64, tonic::Status> {
        let reply = call!(self, add_answers, request);
        reply.map(|reply| reply.added)
    }

    /// The counters of one port.
    pub fn counters(&self, port: &str) -> v1::PortCounters {
        let request = v1::ListCountersRequest { port: port.into() };
        let reply = call!(self, list_counters, request).expect("counters");
        reply.ports.into_iter().next().expect("one port")
    }

    /// The counters of all ports, if the dataplane still answers.
    pub fn try_counters(&self) -> Vec<v1::PortCounters> {
        let mut client = self.0.clone();
        let reply = RUNTIME.block_on(async move {
            let request = v1::ListCountersRequest::default();
            tokio::time::timeout(Duration::from_secs(1), client.list_counters(request)).await
        });
        reply
            .ok()
            .and_then(Result::ok)
            .map_or_else(Vec::new, |r| r.into_inner().ports)
    }

    /// Drops of one port for one reason.
    pub fn drops(&self, port: &str, reason: &str) -> u64 {
        self.counters(port).drops.get(reason).copied().unwrap_or(0)
    }

    /// Events of one port of one kind.
    pub fn events(&self, port: &str, kind: &str) -> u64 {
        self.counters(port).events.get(kind).copied().unwrap_or(0)
    }

    /// Why a packet goes where it goes.
    pub fn explain(&self, request: v1::ExplainRequest) -> v1::ExplainReply {
        call!(self, explain, request).expect("explain")
    }

    /// Echoes under the router's own name: one reply for each.
    pub fn echo(&self, request: v1::EchoRequest) -> Vec<v1::EchoReply> {
        let count = request.count.max(1);
        let mut replies = Events(call!(self, echo, request).expect("echo"));
        (0..count)
            .map(|_| replies.next(PATIENCE).expect("a reply for every request"))
            .collect()
    }

    /// An echo that must be refused as a bad argument; the message.
    pub fn echo_refused(&self, request: v1::EchoRequest) -> String {
        let status = call!(self, echo, request).expect_err("must be refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status.message().to_string()
    }

    /// Copies of a port's frames.
    pub fn capture(&self, port: &str) -> Events<v1::CapturedFrame> {
        let request = v1::CaptureRequest {
            port: port.into(),
            snap_length: 0,
        };
        Events(call!(self, capture, request).expect("capture"))
    }

    /// The next packets through every stage.
    pub fn trace(&self, count: u32, port: &str) -> Events<v1::TracedPacket> {
        let request = v1::TracePacketsRequest {
            count,
            port: port.into(),
        };
        Events(call!(self, trace_packets, request).expect("trace"))
    }

    /// Changes as they happen.
    pub fn watch(&self) -> Events<v1::Event> {
        Events(call!(self, watch, v1::WatchRequest {}).expect("watch"))
    }

    /// Waits until a port is quiet and every packet of it is in exactly one counter; the counters.
    pub fn settled(&self, port: &str, rx: u64) -> v1::PortCounters {
        let mut last = v1::PortCounters::default();
        super::wait_until(
            &format!("packet equation of {port} with {rx} received"),
            || {
                last = self.counters(port);
                let ended: u64 = last.drops.values().sum::<u64>() + last.sent + last.consumed;
                last.rx >= rx && last.rx + last.originated == ended
            },
        );
        last
    }
}
