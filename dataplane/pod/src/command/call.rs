//! `dmsc-pod call`: one call after another, and who answered.

use std::process::ExitCode;

use clap::Args;
use dmsc_pod::Pod;
use dmsc_pod::openloop::instance_of;
use dmsc_wire::NameBuf;
use serde_json::json;

use super::{Global, Placement, name};

#[derive(Debug, Args)]
#[command(after_help = "\
Status 1 if a call was not answered. With --json one line per call.
Examples:
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c call /shop/b --data hello
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c call /shop/b --pin 4 --count 3")]
pub struct Call {
    /// The name to call
    #[arg(value_name = "NAME", value_parser = name)]
    name: NameBuf,
    #[command(flatten)]
    placement: Placement,
    /// Flow label [default: a new one for every call]
    #[arg(long)]
    flow: Option<u32>,
    /// Payload
    #[arg(long, value_name = "TEXT", conflicts_with = "size")]
    data: Option<String>,
    /// Payload of this many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=65_535))]
    size: Option<u32>,
    /// Number of calls
    #[arg(long, default_value_t = 1)]
    count: u32,
}

impl Call {
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let pod = Pod::connect(global.config()?).await?;
        let payload = match (&self.data, self.size) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, size) => vec![b'.'; size.unwrap_or(0) as usize],
        };
        let options = self.placement.options(self.flow);
        let mut code = ExitCode::SUCCESS;
        for _ in 0..self.count {
            match pod.call(&self.name, &payload, &options).await {
                Ok(answer) => {
                    let instance =
                        String::from_utf8_lossy(instance_of(&answer.payload)).into_owned();
                    let micros = answer.round_trip.as_secs_f64() * 1e6;
                    if global.json {
                        let line = json!({
                            "ok": true,
                            "name": answer.source_name.to_string(),
                            "instance": instance,
                            "gateway": answer.gateway.0,
                            "attachment": answer.attachment.0,
                            "round_trip_us": (micros * 10.0).round() / 10.0,
                            "rebound": answer.rebound,
                            "bytes": answer.payload.len(),
                        });
                        println!("{line}");
                    } else {
                        println!(
                            "{} answered by {instance} at gateway {} attachment {}, {} bytes, round trip {micros:.0} us{}",
                            answer.source_name,
                            answer.gateway,
                            answer.attachment,
                            answer.payload.len(),
                            if answer.rebound { ", placed twice" } else { "" }
                        );
                    }
                }
                Err(error) => {
                    code = ExitCode::FAILURE;
                    if global.json {
                        let max = match &error {
                            dmsc_pod::CallError::TooBig { max, .. } => Some(*max),
                            _ => None,
                        };
                        println!(
                            "{}",
                            json!({ "ok": false, "code": error.code(), "error": error.to_string(), "max": max })
                        );
                    } else {
                        println!("{}: {error}", self.name);
                    }
                }
            }
        }
        super::leave(pod).await;
        Ok(code)
    }
}
