//! `dmsc-pod ping`: echo requests, and with RECORD the way there and back.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dmsc_pod::Pod;
use dmsc_wire::NameBuf;
use serde_json::json;

use super::{Global, Placement, name};

#[derive(Debug, Args)]
#[command(after_help = "\
Status 1 if no ping was answered. With --json one line per ping. Names of routers are /dmsc/NODE.
Examples:
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c ping /shop/b --record
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c ping /dmsc/4 --count 3")]
pub struct Ping {
    /// The name to ping
    #[arg(value_name = "NAME", value_parser = name)]
    name: NameBuf,
    #[command(flatten)]
    placement: Placement,
    /// Flow label [default: a new one for every ping]
    #[arg(long)]
    flow: Option<u32>,
    /// Number of pings
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Between pings
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    interval: u64,
    /// Payload bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=65_535))]
    size: u32,
    /// Have every router on the way write itself down
    #[arg(long)]
    record: bool,
}

impl Ping {
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let pod = Pod::connect(global.config()?).await?;
        let options = self.placement.options(self.flow);
        let payload = vec![b'.'; self.size as usize];
        let slots = if self.record { 20 } else { 0 };
        let mut answered = 0;
        for sequence in 0..self.count {
            if sequence > 0 {
                tokio::time::sleep(Duration::from_millis(self.interval)).await;
            }
            match pod.ping(&self.name, &payload, slots, &options).await {
                Ok(pong) => {
                    answered += 1;
                    let micros = pong.round_trip.as_secs_f64() * 1e6;
                    let hops: Vec<_> = pong
                        .hops
                        .iter()
                        .map(|hop| {
                            json!({
                                "node": hop.node.0,
                                "in_port": hop.in_port.0,
                                "out_port": hop.out_port.0,
                                "residence_ns": hop.residence_ns,
                            })
                        })
                        .collect();
                    if global.json {
                        let line = json!({
                            "ok": true,
                            "sequence": sequence,
                            "name": pong.source_name.to_string(),
                            "gateway": pong.gateway.0,
                            "attachment": pong.attachment.0,
                            "round_trip_us": (micros * 10.0).round() / 10.0,
                            "hops": hops,
                        });
                        println!("{line}");
                        continue;
                    }
                    println!(
                        "{} answered at gateway {} attachment {}: sequence {sequence}, round trip {micros:.0} us",
                        pong.source_name, pong.gateway, pong.attachment
                    );
                    for hop in &pong.hops {
                        println!(
                            "  node {:<6} in port {:<4} out port {:<4} residence {:.1} us",
                            hop.node,
                            hop.in_port,
                            hop.out_port,
                            f64::from(hop.residence_ns) / 1e3
                        );
                    }
                }
                Err(error) if global.json => {
                    println!(
                        "{}",
                        json!({ "ok": false, "sequence": sequence, "code": error.code(), "error": error.to_string() })
                    );
                }
                Err(error) => println!("{}: sequence {sequence}: {error}", self.name),
            }
        }
        super::leave(pod).await;
        if !global.json {
            println!("{} sent, {answered} answered", self.count);
        }
        Ok(if answered > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
