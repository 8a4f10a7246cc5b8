//! Checks of the programs that a pod serves with: the service's self-detection.
//!
//! A program that fails its checks gets no streams (`unhealthy`, before anything was given to it), and when all programs of a pod fail, the gateway is told
//! that the pod wants no calls.

mod count;
mod detect;
mod grpc;
mod probe;

pub use count::Count;
pub use detect::answer;
pub use probe::{Failed, probe};

use std::sync::Arc;

use dmsc_pod::Health;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::pod::{Context, Phase, Served};

/// Checks one program, sets [`Served::set_healthy`], and tells the gateway, until the pod ends.
pub async fn run(served: Arc<Served>, context: Arc<Context>) {
    tokio::select! {
        () = check(&served, &context) => {}
        () = context.until(Phase::Draining) => {}
    }
}

async fn check(served: &Served, context: &Context) {
    let serve = &served.serve;
    let mut count = Count::new(serve.health.rise, serve.health.fall);
    let mut times = tokio::time::interval(serve.health.every);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let found = probe(serve.to, &serve.health).await;
        let Some(well) = count.tell(found.is_ok()) else {
            continue;
        };
        let (pod, prefix, to) = (context.identity(), &serve.prefix, serve.to);
        match found {
            Ok(()) => info!(pod, %prefix, %to, "the program is well"),
            Err(why) => {
                warn!(pod, %prefix, %to, %why, "the program is not well; it gets no calls");
                context.shared.stats.error("unhealthy");
            }
        }
        let was = overall(&context.shared.served);
        served.set_healthy(well);
        let is = overall(&context.shared.served);
        if is != was
            && let Err(error) = context.endpoint.pod().set_health(is).await
        {
            // It is told again with the next registration.
            warn!(pod, %error, "the gateway is not told how the pod is");
        }
    }
}

/// A pod with one program that is well takes calls; those for the others are refused one by one.
fn overall(served: &[Arc<Served>]) -> Health {
    match served.iter().any(|one| one.is_healthy()) {
        true => Health::Serving,
        false => Health::Draining,
    }
}
