//! `dmsc-pod resolve`: the instances of a name, once or as they change.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dmsc_pod::Pod;
use dmsc_wire::NameBuf;
use serde_json::json;

use super::{Global, name};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c resolve /shop/b")]
pub struct Resolve {
    /// The name
    #[arg(value_name = "NAME", value_parser = name)]
    name: NameBuf,
    /// Go on and print every change
    #[arg(long)]
    watch: bool,
}

impl Resolve {
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let pod = Pod::connect(global.config()?).await?;
        let mut resolution = pod.resolve(&self.name).await?;
        loop {
            let instances = resolution
                .next()
                .await?
                .context("the gateway ended the stream")?;
            if global.json {
                let list: Vec<_> = instances
                    .iter()
                    .map(|one| {
                        json!({
                            "gateway": one.gateway.0,
                            "attachment": one.attachment.0,
                            "metric": one.metric,
                            "weight": one.weight,
                            "health": one.health,
                        })
                    })
                    .collect();
                println!(
                    "{}",
                    json!({ "name": self.name.to_string(), "instances": list })
                );
            } else {
                println!("{}: {} instances", self.name, instances.len());
                for one in &instances {
                    println!(
                        "  gateway {:<6} attachment {:<6} metric {:<6} weight {:<6} {}",
                        one.gateway, one.attachment, one.metric, one.weight, one.health
                    );
                }
            }
            if !self.watch {
                break;
            }
        }
        drop(resolution);
        super::leave(pod).await;
        Ok(ExitCode::SUCCESS)
    }
}
