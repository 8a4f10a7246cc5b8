//! A gateway and its scheduling centers (design §8): what is measured goes up, policies come down. Without a center, plain routes hold; a slow one
//! costs nothing but telemetry.

mod apart;
mod bandwidth;
mod center;
mod counts;
mod entered;
mod exchange;
mod measure;
mod services;
mod telling;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dmsc_scsc::{Pair, Report, Topology};
use dmsc_spa::verify::RootKey;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::handle::Handle;
use crate::tls::Tls;
use apart::Apart;
use bandwidth::Bandwidth;
use center::Center;
use counts::Counts;
use measure::Measure;
use services::Services;
use traffic::Traffic;

/// Between two probes of a pair, and between two reports.
const SECOND: Duration = Duration::from_secs(1);

/// Ends what it was given when it is dropped.
struct Stream {
    center: Arc<Center>,
    task: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Measures once a second while there is a center in the configuration, and talks to each. Never ends by itself.
pub async fn schedule(handle: Handle, tls: Tls, root: RootKey) {
    let mut streams: BTreeMap<SocketAddr, Stream> = BTreeMap::new();
    let mut measure = Measure::default();
    let mut bandwidth = Bandwidth::default();
    let mut traffic = Traffic::default();
    let mut services = Services::default();
    let mut counts = Counts::default();
    let mut apart = Apart::default();
    let mut tick = interval(SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = measure.collect() => continue,
            () = services.collect() => continue,
        }
        let known = apart.clone();
        let wanted = handle.query(move |node| {
            let mut apart = known;
            let centers: BTreeSet<SocketAddr> =
                node.config.scheduling.centers.iter().copied().collect();
            // Without a center nothing is measured: nobody would hear of it.
            let pairs = match centers.is_empty() {
                true => Vec::new(),
                false => {
                    apart.renew(node);
                    apart.pairs(node, measure::MAX_PAIRS)
                }
            };
            (node.config.node.id, centers, pairs, apart)
        });
        let Some((own, centers, pairs, renewed)) = wanted.await else {
            return;
        };
        apart = renewed;
        streams.retain(|address, _| centers.contains(address));
        for address in centers {
            streams.entry(address).or_insert_with(|| {
                let center = Arc::new(Center::new(address));
                let talk =
                    exchange::talk(handle.clone(), tls.clone(), root.clone(), center.clone());
                let task = tokio::spawn(talk).abort_handle();
                Stream { center, task }
            });
        }
        let mut second = measure.second(own, &pairs);
        if !streams.is_empty() {
            bandwidth.fill(&handle, &mut second).await;
            let rows = traffic.rows(&handle).await;
            let states = services.second(&handle);
            let entered = counts.second(&handle).await;
            let towards = entered.towards();
            // Counted by member, whichever way they go: told once.
            let by_metric = |(pair, _): &(&Pair, &mut Report)| pair.topology == Topology::Metric;
            for (pair, report) in second.iter_mut().filter(by_metric) {
                report.bytes = towards.get(&pair.member).copied().unwrap_or(0);
            }
            for stream in streams.values() {
                let (rows, states) = (rows.clone(), states.clone());
                let center = &stream.center;
                center.push(second.clone(), rows, states, entered.clone());
            }
            services.probe(&handle, own).await;
        }
        measure.probe(&handle).await;
    }
}
