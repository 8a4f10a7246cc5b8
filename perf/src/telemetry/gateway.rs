//! One gateway that tells made-up seconds.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::bail;
use dmsc_proto::SCHEDULING_MESSAGE;
use dmsc_proto::v1::center_message::Message as Down;
use dmsc_proto::v1::gateway_message::Message as Up;
use dmsc_proto::v1::scheduling_client::SchedulingClient;
use dmsc_proto::v1::{GatewayHello, GatewayMessage, PrefixTraffic, Telemetry};
use dmsc_scsc::stream::Encoder;
use dmsc_scsc::{Pair, Report, Topology};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::pki::CENTER_DNS;
use dmsc_wire::{NameBuf, NodeId};
use tokio::sync::{Barrier, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::{PAIRS_OF_GROUP, PATIENCE, PROBES, TelemetryArgs};

/// What one gateway counted.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub sent: u64,
    pub acked: u64,
    pub reports: u64,
    pub bytes: u64,
    pub slowest: Duration,
}

/// One gateway: connects, waits for the others, tells its seconds, and counts what was acknowledged.
pub(super) async fn gateway(
    id: u32,
    credentials: &Credentials,
    address: SocketAddr,
    args: &TelemetryArgs,
    ready: &Barrier,
    dialling: &Semaphore,
) -> anyhow::Result<Told> {
    let identity =
        tonic::transport::Identity::from_pem(&credentials.certificate_pem, &credentials.key_pem);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&credentials.root_pem))
        .identity(identity)
        .domain_name(CENTER_DNS);
    // Not too many from one address: a center has a limit for each.
    let from = IpAddr::V4(Ipv4Addr::from(0x7f00_0002 + id / 200));
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .local_address(Some(from));
    let place = dialling.acquire().await?;
    let channel = endpoint.connect().await?;
    let (sender, messages) = mpsc::channel(8);
    let hello = GatewayHello {
        version_min: 1,
        version_max: 1,
        node: id,
        software: "dmsc-perf".into(),
        ..GatewayHello::default()
    };
    sender.send(message(Up::Hello(hello))).await?;
    let mut client = SchedulingClient::new(channel).max_decoding_message_size(SCHEDULING_MESSAGE);
    let mut inbound = client
        .exchange(ReceiverStream::new(messages))
        .await?
        .into_inner();
    drop(place);
    ready.wait().await;
    let mut told = Told::default();
    let mut encoder = Encoder::new();
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    // Spread over the second, as clocks of gateways are.
    let offset = Duration::from_secs(1) * id / args.gateways.max(1);
    let mut interval =
        tokio::time::interval_at((Instant::now() + offset).into(), Duration::from_secs(1));
    loop {
        let done = told.sent >= u64::from(args.seconds);
        if done && waiting.is_empty() {
            return Ok(told);
        }
        tokio::select! {
            _ = interval.tick(), if !done => {
                told.sent += 1;
                let telemetry = second(id, told.sent, args, &mut encoder)?;
                told.reports += telemetry.reports.len() as u64;
                let message = message(Up::Telemetry(telemetry));
                // And the five bytes that gRPC puts before it.
                told.bytes += prost::Message::encoded_len(&message) as u64 + 5;
                waiting.push_back((told.sent, Instant::now()));
                sender.send(message).await?;
            }
            answer = tokio::time::timeout(PATIENCE, inbound.message()) => {
                let Ok(answer) = answer else {
                    return Ok(told);
                };
                let Some(answer) = answer? else {
                    bail!("the scheduling center ended the stream of gateway {id}");
                };
                if let Some(Down::TelemetryAck(ack)) = answer.message {
                    while let Some((_, at)) = waiting.pop_front_if(|(second, _)| *second <= ack.second) {
                        told.acked += 1;
                        told.slowest = told.slowest.max(at.elapsed());
                    }
                }
            }
        }
    }
}

fn message(message: Up) -> GatewayMessage {
    GatewayMessage {
        message: Some(message),
    }
}

/// One second of a gateway: every member at its own distance, with noise.
fn second(
    id: u32,
    second: u64,
    args: &TelemetryArgs,
    encoder: &mut Encoder,
) -> anyhow::Result<Telemetry> {
    let mut reports = Vec::new();
    let mut random = u64::from(id) << 32 ^ second;
    let mut noise = |most: u32| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u32 % most
    };
    for pair in 0..args.pairs {
        let mut report = Report {
            span_ms: 1_000,
            bytes: u64::from(noise(1_000_000)),
            available_kbps: u64::from(900_000 + noise(100_000)),
            load_permille: noise(500),
            ..Report::default()
        };
        let mut before = None;
        for _ in 0..PROBES {
            let delay = 5_000 + pair * 100 + noise(2_000);
            report.answer(delay, before);
            before = Some(delay);
        }
        let pair = Pair {
            gateway: NodeId(id),
            member: member(pair),
            topology: if pair % 2 == 0 {
                Topology::Metric
            } else {
                Topology::Delay
            },
        };
        encoder.push(pair, &report, &mut reports)?;
    }
    let prefixes = (0..args.pairs).step_by(PAIRS_OF_GROUP).map(|first| {
        let last = (first + PAIRS_OF_GROUP as u32).min(args.pairs);
        let members: Vec<u32> = (first..last)
            .step_by(2)
            .map(|pair| member(pair).0)
            .collect();
        let prefix = NameBuf::parse(&format!("/service/{first}"))?;
        Ok(PrefixTraffic {
            domain: 1,
            name: prefix.as_bytes().to_vec(),
            bytes: u64::from(100_000 + noise(100_000)),
            requests: 100,
            members: members[..1].to_vec(),
            others: members[1..].to_vec(),
            ..PrefixTraffic::default()
        })
    });
    Ok(Telemetry {
        second,
        reports,
        prefixes: prefixes.collect::<anyhow::Result<_>>()?,
        ..Telemetry::default()
    })
}

/// Both topologies to a member follow one another.
const fn member(pair: u32) -> NodeId {
    NodeId(100_001 + pair / 2)
}
