//! `probe NAME`: its words.

use std::time::Duration;

use clap::Args;
use dmsc_proto::v1::EchoRequest;
use dmsc_wire::NameBuf;

use super::WayArgs;
use crate::echo::{milliseconds_of, request_by};
use crate::span;
use crate::text::parse_name;

/// `probe NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl probe /shop/b                  delay, delay variation, loss; health and load as the instance says them\n  dmscctl probe /shop/b --pin 4          the instance at gateway 4, whatever routes and policies say\n  dmscctl probe /dmsc/7 --count 100      the way to a router, which says nothing of itself\n  dmscctl --json probe /shop/b | jq 'select(.kind == \"summary\").delay_variation.p95_ns'\n\nThe probe starts at this router. Round trips are without the time that the answerer had it; delay variation is the difference of consecutive round trips (RFC 3393, RFC 5481). Load is calls under way of what there is room for. For an instance that is there and answers no probes, which is known after it has not for the time of its lease, its gateway answers and says so. Exit status 1 when no probe was answered."
)]
pub struct ProbeArgs {
    /// Name to probe: of a service such as /shop/cart, or /dmsc/ and a node id
    #[arg(value_parser = parse_name)]
    pub name: NameBuf,
    /// How many probes, at most 1000
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub count: u32,
    /// Time between probes
    #[arg(short, long, default_value = "100ms", value_parser = span::parse, value_name = "TIME")]
    pub interval: Duration,
    /// Give each probe the next flow label: of ways of equal cost another one
    #[arg(long)]
    pub vary_flow: bool,
    /// The way there.
    #[command(flatten)]
    pub way: WayArgs,
    /// Class: 0 to 5 take the least metric, 6 and 7 the least delay; a policy may say by delay for a name
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=7), value_name = "CLASS")]
    pub class: u32,
}

impl ProbeArgs {
    /// What they ask of the agent.
    #[must_use]
    pub fn request(&self) -> EchoRequest {
        EchoRequest {
            count: self.count,
            interval_ms: milliseconds_of(self.interval),
            vary_flow: self.vary_flow,
            class: self.class,
            probe: true,
            ..request_by(&self.name, &self.way)
        }
    }
}
