//! A small agent on a real Unix socket, with fixed answers, for the tests of the command. Not every test uses all of it.
#![allow(dead_code)]

pub mod operator;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmsc_proto::v1::dataplane_agent_server::{DataplaneAgent, DataplaneAgentServer};
use dmsc_proto::v1::*;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = BoxStream<'static, Result<T, Status>>;

/// The agent: node 1, "sg1", ports sr1 and pod1.
#[derive(Default)]
pub struct FakeAgent {
    /// Speaks only this version, if not zero.
    pub only_version: u32,
    /// How often workers were listed.
    pub readings: AtomicU64,
}

/// A running server; removed with its socket when dropped.
pub struct Server {
    directory: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub fn start(agent: FakeAgent) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let listener = UnixListener::bind(directory.path().join("sg1.sock")).expect("bind");
        let service = DataplaneAgentServer::from_arc(Arc::new(agent));
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .expect("serve");
        });
        Self { directory, task }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("sg1.sock")
    }

    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn port(id: u32, name: &str, role: &str) -> Port {
    Port {
        id,
        name: name.to_owned(),
        kind: "af_packet".to_owned(),
        role: role.to_owned(),
        interface: name.to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        addresses: vec!["10.0.1.0/31".to_owned()],
        mtu: 9000,
        carrier: true,
        queues: 1,
        rx_packets: 10,
        tx_packets: 9,
        ..Port::default()
    }
}

fn adjacency() -> Adjacency {
    Adjacency {
        id: 1,
        port: "sr1".to_owned(),
        peer: 5,
        encapsulation: "udp".to_owned(),
        local_address: "10.0.1.0".to_owned(),
        remote_address: "10.0.1.1".to_owned(),
        minimum_ttl: 255,
        hello_interval_ms: 50,
        hello_multiplier: 3,
        key_id: 7,
        key: b"0123456789abcdef".to_vec(),
        state: "up".to_owned(),
        path_mtu: 9000,
        changes: 1,
        neighbour: "02:00:00:00:00:02".to_owned(),
        ..Adjacency::default()
    }
}

fn attachment() -> Attachment {
    Attachment {
        id: 3,
        port: "pod1".to_owned(),
        address: "10.1.1.2".to_owned(),
        udp_port: 4000,
        domain: 1,
        identity: "pod1/a".to_owned(),
        serves: vec![b"\x04shop\x01a".to_vec()],
        owns: vec![b"\x02id\x04pod1\x01a".to_vec()],
        state: "up".to_owned(),
        ..Attachment::default()
    }
}

fn hop(node: u32, in_port: u32, out_port: u32) -> Hop {
    Hop {
        node,
        in_port,
        out_port,
        residence_ns: 2_000,
    }
}

fn known(port: &str) -> Result<(), Status> {
    match port {
        "" | "sr1" | "pod1" => Ok(()),
        other => Err(Status::not_found(format!("no port is named {other}"))),
    }
}

fn streamed<T: Send + 'static>(items: Vec<T>) -> Answer<Streamed<T>> {
    Ok(Response::new(stream::iter(items).map(Ok).boxed()))
}

#[tonic::async_trait]
impl DataplaneAgent for FakeAgent {
    async fn greet(&self, request: Request<GreetRequest>) -> Answer<GreetReply> {
        let request = request.into_inner();
        let only = self.only_version;
        if only != 0 && !(request.version_min..=request.version_max).contains(&only) {
            return Err(Status::failed_precondition(format!(
                "this dataplane speaks version {only}"
            )));
        }
        Ok(Response::new(GreetReply {
            version: 1,
            version_min: 1,
            version_max: 1,
            node: 1,
            node_name: "sg1".to_owned(),
            role: "sg".to_owned(),
            boot_nonce: u64::MAX,
            generation: 12,
            software: "dmsc-dataplane 0.1.0".to_owned(),
            uptime_ms: 1500,
        }))
    }

    async fn apply(&self, _: Request<Transaction>) -> Answer<TransactionAck> {
        Err(Status::permission_denied("dmscctl programs nothing"))
    }

    type ApplyStreamStream = Streamed<TransactionAck>;
    async fn apply_stream(
        &self,
        _: Request<tonic::Streaming<Transaction>>,
    ) -> Answer<Self::ApplyStreamStream> {
        Err(Status::permission_denied("dmscctl programs nothing"))
    }

    async fn dump(&self, request: Request<DumpRequest>) -> Answer<DumpReply> {
        let prefix = Prefix {
            domain: 1,
            name: b"\x04shop\x01b".to_vec(),
            group: 1,
        };
        Ok(Response::new(DumpReply {
            generation: 12,
            adjacencies: vec![adjacency()],
            gateways: vec![Gateway {
                gateway: 4,
                metric: 30,
                next_hops: vec![1],
                ..Gateway::default()
            }],
            groups: vec![Group {
                id: 1,
                members: vec![Member {
                    gateway: 4,
                    metric: 30,
                    weight: 1,
                    delay_weight: 0,
                }],
                weighted: false,
            }],
            prefixes: if request.into_inner().prefixes {
                vec![prefix]
            } else {
                vec![]
            },
            attachments: vec![attachment()],
            access_rules: vec![AccessRule {
                id: 1,
                domain: 1,
                caller: vec![],
                callee: b"\x04shop\x01b".to_vec(),
                allow: false,
            }],
            prefix_count: 1,
            table_bytes: 4096,
        }))
    }

    async fn list_adjacencies(
        &self,
        _: Request<ListAdjacenciesRequest>,
    ) -> Answer<ListAdjacenciesReply> {
        Ok(Response::new(ListAdjacenciesReply {
            adjacencies: vec![adjacency()],
        }))
    }

    async fn list_ports(&self, _: Request<ListPortsRequest>) -> Answer<ListPortsReply> {
        Ok(Response::new(ListPortsReply {
            ports: vec![port(2, "pod1", "pod"), port(1, "sr1", "router")],
        }))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Answer<ListWorkersReply> {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(ListWorkersReply {
            workers: vec![Worker {
                id: 0,
                core: -1,
                packets: reading * 1_000,
                bursts: reading * 250,
                busy_cycles: reading * 300_000,
                idle_cycles: reading * 700_000,
                cycles_hz: 1_000_000,
                now_cycles: reading * 1_000_000,
                observed_generation: 12,
                state: "polling".to_owned(),
                ..Worker::default()
            }],
        }))
    }

    async fn list_counters(
        &self,
        request: Request<ListCountersRequest>,
    ) -> Answer<ListCountersReply> {
        let wanted = request.into_inner().port;
        known(&wanted)?;
        let counters = ["sr1", "pod1"].map(|port| PortCounters {
            port: port.to_owned(),
            rx: 10,
            originated: 1,
            sent: 8,
            consumed: 1,
            drops: [("no-route".to_owned(), 2)].into(),
            events: [("rebound".to_owned(), 1)].into(),
            classes: Vec::new(),
        });
        Ok(Response::new(ListCountersReply {
            ports: counters
                .into_iter()
                .filter(|port| wanted.is_empty() || port.port == wanted)
                .collect(),
        }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answer<ExplainReply> {
        let request = request.into_inner();
        known(&request.in_port)?;
        let matched = request.name.starts_with(b"\x04shop\x01b");
        Ok(Response::new(ExplainReply {
            generation: 12,
            matched_prefix: if matched {
                b"\x04shop\x01b".to_vec()
            } else {
                vec![]
            },
            gateway: if matched { 4 } else { 0 },
            adjacency: if matched { 1 } else { 0 },
            out_port: if matched { "sr1" } else { "" }.to_owned(),
            verdict: if matched { "forward" } else { "no-route" }.to_owned(),
            steps: vec![format!("flow label {}", request.flow_label)],
            ..ExplainReply::default()
        }))
    }

    type EchoStream = Streamed<EchoReply>;
    async fn echo(&self, request: Request<EchoRequest>) -> Answer<Self::EchoStream> {
        let request = request.into_inner();
        let matched = request.name.starts_with(b"\x04shop\x01b");
        let hops = if request.record_slots > 0 {
            vec![hop(1, 0, 1), hop(4, 1, 2), hop(4, 2, 1), hop(1, 1, 0)]
        } else {
            vec![]
        };
        let replies = (0..request.count.max(1)).map(|sequence| {
            if matched {
                EchoReply {
                    sequence,
                    answered: true,
                    round_trip_ns: 1_000_000 * u64::from(sequence + 1),
                    gateway: 4,
                    attachment: 3,
                    name: b"\x04shop\x01b".to_vec(),
                    hops: hops.clone(),
                    residence_ns: u64::from(request.probe) * 500_000,
                    load_permille: u32::from(request.probe) * 125,
                    state_known: request.probe,
                    ..EchoReply::default()
                }
            } else {
                EchoReply {
                    sequence,
                    error: "no-route".to_owned(),
                    error_node: 1,
                    ..EchoReply::default()
                }
            }
        });
        streamed(replies.collect())
    }

    type CaptureStream = Streamed<CapturedFrame>;
    async fn capture(&self, request: Request<CaptureRequest>) -> Answer<Self::CaptureStream> {
        known(&request.into_inner().port)?;
        let name = dmsc_wire::NameBuf::parse("/shop/b").expect("a name");
        let packet = dmsc_wire::PacketBuilder::new(dmsc_wire::Kind::Request)
            .destination(name.as_name())
            .source(name.as_name())
            .payload(b"hello")
            .to_vec()
            .expect("a packet");
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
        frame.extend(packet);
        let frames = (0..10).map(|index| CapturedFrame {
            time_ns: 1_700_000_000_000_000_001 + index,
            outgoing: index % 2 == 1,
            length: frame.len() as u32,
            data: frame.clone(),
            missed: 1,
        });
        streamed(frames.collect())
    }

    type TracePacketsStream = Streamed<TracedPacket>;
    async fn trace_packets(
        &self,
        request: Request<TracePacketsRequest>,
    ) -> Answer<Self::TracePacketsStream> {
        let request = request.into_inner();
        known(&request.port)?;
        let packets = (1..=request.count).map(|number| TracedPacket {
            number,
            in_port: "pod1".to_owned(),
            steps: vec![TraceStep {
                stage: "resolve".to_owned(),
                at_ns: 500,
                what: "/shop/b: group 1, gateway 4".to_owned(),
            }],
        });
        streamed(packets.collect())
    }

    async fn config(&self, request: Request<AgentConfigRequest>) -> Answer<AgentConfigReply> {
        let request = request.into_inner();
        let line = "port[2].budget_pps: 20000 -> 30000".to_owned();
        Ok(Response::new(match request.action.as_str() {
            "dump" => AgentConfigReply {
                text: "[node]\nid = 1\n".to_owned(),
                ..AgentConfigReply::default()
            },
            _ => AgentConfigReply {
                changed: true,
                diff: vec![line],
                generation: 13,
                ..AgentConfigReply::default()
            },
        }))
    }
    type HandoverStream = Streamed<HandoverReply>;
    async fn handover(&self, _: Request<HandoverRequest>) -> Answer<Self::HandoverStream> {
        Err(Status::unimplemented("not of interest here"))
    }
    async fn add_answers(&self, _: Request<AddAnswersRequest>) -> Answer<AddAnswersReply> {
        Err(Status::unimplemented("not for people"))
    }

    async fn list_traffic(&self, _: Request<ListTrafficRequest>) -> Answer<ListTrafficReply> {
        let reading = 1 + self.readings.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(ListTrafficReply {
            epoch: 7,
            reading,
            read_ns: reading * 1_000_000_000,
            services: vec![ServiceTraffic {
                domain: 1,
                name: b"\x04shop\x01b".to_vec(),
                since: 1,
                packets: reading * 1_000,
                bytes: reading * 300_000,
                requests: reading * 1_000,
                members: [(2, 250), (3, 750)]
                    .map(|(gateway, packets)| MemberCount {
                        gateway,
                        packets: reading * packets,
                        bytes: reading * packets * 300,
                        requests: reading * packets,
                    })
                    .into(),
                next_hops: [(2, 0, 0, 250), (3, 3, 5, 500), (3, 4, 6, 250)]
                    .map(|(gateway, adjacency, peer, packets)| NextHopCount {
                        gateway,
                        adjacency,
                        peer,
                        packets: reading * packets,
                        bytes: reading * packets * 300,
                        requests: reading * packets,
                    })
                    .into(),
                latency: vec![LatencyBucket {
                    from_us: 320,
                    to_us: 336,
                    count: reading * 16,
                }],
            }],
            ..ListTrafficReply::default()
        }))
    }

    type WatchStream = Streamed<Event>;
    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        streamed(vec![
            Event {
                time_ns: 1_000,
                event: Some(event::Event::Adjacency(adjacency())),
            },
            Event {
                time_ns: 2_000,
                event: Some(event::Event::Generation(13)),
            },
        ])
    }
}
