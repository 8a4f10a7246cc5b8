//! All counters at one moment, folded to what there is room for, and their text.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::budget::{Budget, Series};
use crate::stats::{BOUNDS_US, Class, ConnectionKind, Direction, NameStats, Protocol, Stats};

/// What stands for all that there was no room for.
const OTHER: &str = "other";
/// Lines of a histogram: its buckets with the last one, sum and count.
const SECONDS: usize = BOUNDS_US.len() + 3;

type Labels<const N: usize> = [(&'static str, String); N];

#[derive(Debug, Default)]
struct Seconds {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

/// Ordered, so that the text is as well.
#[derive(Debug, Default)]
pub(super) struct Picture {
    calls: BTreeMap<Labels<5>, u64>,
    seconds: BTreeMap<Labels<3>, Seconds>,
    open: BTreeMap<Labels<2>, u64>,
    errors: BTreeMap<Labels<2>, u64>,
    log_dropped: u64,
    folded: u64,
}

impl Picture {
    /// Reads the counters of all pods.
    pub fn take<'a>(
        pods: impl Iterator<Item = &'a Stats>,
        log_dropped: u64,
        budget: &mut Budget,
    ) -> Self {
        let mut picture = Self {
            log_dropped,
            ..Self::default()
        };
        for stats in pods {
            picture.add_pod(stats, budget);
        }
        picture.folded = budget.folded();
        picture
    }

    fn add_pod(&mut self, stats: &Stats, budget: &mut Budget) {
        let pod = &stats.pod;
        let apart = budget.admit(Series::Open(pod.clone()), ConnectionKind::ALL.len());
        for kind in ConnectionKind::ALL {
            let labels = [("pod", word(apart, pod)), ("kind", kind.as_str().into())];
            *self.open.entry(labels).or_default() += stats.open(kind);
        }
        for (reason, count) in stats.errors() {
            let apart = budget.admit(Series::Error(pod.clone(), reason), 1);
            let labels = [("pod", word(apart, pod)), ("reason", reason.into())];
            *self.errors.entry(labels).or_default() += count;
        }
        for name in stats.names() {
            self.add_name(pod, &name, budget);
        }
    }

    fn add_name(&mut self, pod: &str, stats: &NameStats, budget: &mut Budget) {
        let (direction, name) = (stats.direction, &stats.name);
        let text = || {
            name.as_ref()
                .map_or_else(|| OTHER.to_owned(), ToString::to_string)
        };
        let apart = budget.admit(
            Series::Seconds(pod.to_owned(), direction, name.clone()),
            SECONDS,
        );
        let labels = |apart| match apart {
            true => labels(pod, direction, text()),
            false => labels(OTHER, direction, OTHER.to_owned()),
        };
        let seconds = self.seconds.entry(labels(apart)).or_default();
        let (buckets, sum_us) = stats.seconds.read();
        for (all, one) in seconds.buckets.iter_mut().zip(buckets) {
            *all += one;
        }
        seconds.sum_us += sum_us;
        for protocol in Protocol::ALL {
            for class in Class::ALL {
                let count = stats.calls(protocol, class);
                if count == 0 {
                    continue;
                }
                let series =
                    Series::Calls(pod.to_owned(), direction, name.clone(), protocol, class);
                // Without its durations a name is not told apart here, either.
                let apart = apart && budget.admit(series, 1);
                let [pod, direction, name] = labels(apart);
                let labels = [
                    pod,
                    direction,
                    name,
                    ("protocol", protocol.as_str().into()),
                    ("code_class", class.as_str().into()),
                ];
                *self.calls.entry(labels).or_default() += count;
            }
        }
    }
}

fn word(apart: bool, pod: &str) -> String {
    if apart { pod } else { OTHER }.to_owned()
}

fn labels(pod: &str, direction: Direction, name: String) -> Labels<3> {
    [
        ("pod", pod.to_owned()),
        ("direction", direction.as_str().to_owned()),
        ("name", name),
    ]
}

impl Collector for Picture {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counter = MetricType::Counter;
        let mut calls = encoder.encode_descriptor(
            "requests",
            "Calls that are over, by what was spoken and the class of their status",
            None,
            counter,
        )?;
        for (labels, count) in &self.calls {
            let mut one = calls.encode_family(labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        let mut seconds = encoder.encode_descriptor(
            "request_seconds",
            "How long calls took until their last byte",
            None,
            MetricType::Histogram,
        )?;
        for (labels, one) in &self.seconds {
            let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(one.buckets).collect();
            let count = one.buckets.iter().sum();
            let sum = one.sum_us as f64 / 1e6;
            let mut one = seconds.encode_family(labels)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        let mut open = encoder.encode_descriptor(
            "connections",
            "Connections of programs that are open",
            None,
            MetricType::Gauge,
        )?;
        for (labels, count) in &self.open {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            open.encode_family(labels)?.encode_gauge(&count)?;
        }
        let mut errors = encoder.encode_descriptor(
            "errors",
            "Calls that the edge answered with an error, and attempts that failed, by reason",
            None,
            counter,
        )?;
        for (labels, count) in &self.errors {
            let mut one = errors.encode_family(labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        for (name, help, count) in [
            (
                "access_log_dropped",
                "Calls that the access log had no room for",
                self.log_dropped,
            ),
            (
                "series_folded",
                "Label sets that are told together as other, for want of room (series in the configuration)",
                self.folded,
            ),
        ] {
            let mut one = encoder.encode_descriptor(name, help, None, counter)?;
            one.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_wire::NameBuf;
    use prometheus_client::registry::Registry;
    use std::time::Duration;

    fn call(stats: &Stats, name: &str) {
        let name = NameBuf::parse(name).unwrap();
        let counters = stats.of(Direction::Out, Some(&name));
        counters.begin();
        counters.end(Protocol::Http1, Class::Success, Duration::from_micros(700));
    }

    fn text(stats: &Stats, budget: &mut Budget) -> String {
        let picture = Picture::take([stats].into_iter(), 4, budget);
        let mut registry = Registry::with_prefix("dmsc_edge");
        registry.register_collector(Box::new(picture));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    fn samples(text: &str) -> usize {
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn the_text_says_all() {
        let stats = Stats::new("pod1/a");
        call(&stats, "/shop/web");
        stats.error("no-route");
        let text = text(&stats, &mut Budget::new(5_000));
        for line in [
            r#"dmsc_edge_requests_total{pod="pod1/a",direction="out",name="/shop/web",protocol="h1",code_class="2xx"} 1"#,
            r#"dmsc_edge_request_seconds_bucket{le="0.0005",pod="pod1/a",direction="out",name="/shop/web"} 0"#,
            r#"dmsc_edge_request_seconds_bucket{le="0.001",pod="pod1/a",direction="out",name="/shop/web"} 1"#,
            r#"dmsc_edge_request_seconds_bucket{le="+Inf",pod="pod1/a",direction="out",name="/shop/web"} 1"#,
            r#"dmsc_edge_request_seconds_sum{pod="pod1/a",direction="out",name="/shop/web"} 0.0007"#,
            r#"dmsc_edge_connections{pod="pod1/a",kind="http"} 0"#,
            r#"dmsc_edge_errors_total{pod="pod1/a",reason="no-route"} 1"#,
            "dmsc_edge_access_log_dropped_total 4",
            "dmsc_edge_series_folded_total 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn series_are_bounded_and_nothing_is_lost() {
        let stats = Stats::new("pod1/a");
        let mut budget = Budget::new(600);
        let mut told = 0;
        for round in 1..=3 {
            (0..500).for_each(|name| call(&stats, &format!("/shop/{name}")));
            let text = text(&stats, &mut budget);
            assert!(samples(&text) <= 600, "{}", samples(&text));
            let calls = text
                .lines()
                .filter(|line| line.starts_with("dmsc_edge_requests_total"));
            let all: u64 = calls
                .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum();
            assert_eq!(all, 500 * round);
            let start = r#"dmsc_edge_requests_total{pod="other",direction="out",name="other""#;
            let other = text.lines().find(|line| line.starts_with(start)).unwrap();
            let other: u64 = other.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(other > told);
            told = other;
        }
    }
}
