//! `show quality`: what gateways measured between each other, as a scheduling center has it.

use dmsc_proto::v1::{PairQuality, QualityReply, QualityRequest};
use serde::Serialize;

use crate::cli::operator::QualityArgs;
use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::policy::way;
use crate::text::figure;

/// JSON of `show quality`.
#[derive(Debug, Serialize)]
pub struct QualityView {
    /// Pairs with these ends in all.
    total: u64,
    pairs: Vec<PairView>,
}

#[derive(Debug, Serialize)]
struct PairView {
    from: u32,
    to: u32,
    topology: &'static str,
    /// `null` where no probe was answered.
    delay_p50_us: Option<u32>,
    delay_p99_us: Option<u32>,
    jitter_p99_us: Option<u32>,
    loss_percent: Option<f64>,
    available_kbps: Option<u64>,
    narrowest: Option<LinkView>,
    load_percent: f64,
    health: String,
    age_ms: u32,
    samples: u32,
}

#[derive(Debug, Serialize)]
struct LinkView {
    node: u32,
    port: u32,
}

impl From<PairQuality> for PairView {
    fn from(pair: PairQuality) -> Self {
        let measured = |us: u32| (pair.samples > 0).then_some(us);
        Self {
            from: pair.from,
            to: pair.to,
            topology: way(pair.topology),
            delay_p50_us: measured(pair.delay_p50_us),
            delay_p99_us: measured(pair.delay_p99_us),
            jitter_p99_us: measured(pair.jitter_p99_us),
            loss_percent: pair.loss_ppm.map(|ppm| f64::from(ppm) / 1e4),
            available_kbps: pair.available_kbps,
            narrowest: (pair.narrowest_node != 0).then_some(LinkView {
                node: pair.narrowest_node,
                port: pair.narrowest_port,
            }),
            load_percent: f64::from(pair.load_permille) / 1e1,
            health: pair.health,
            age_ms: pair.age_ms,
            samples: pair.samples,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(
    operator: &Operator,
    args: &QualityArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(0));
    let ask = |mut client: Client, limit, after| {
        let request = QualityRequest {
            from,
            to,
            limit,
            after,
        };
        async move { client.show_quality(request).await }
    };
    let reply: QualityReply = operator.pages(args.limit, ask).await?;
    let view = QualityView {
        total: reply.total,
        pairs: reply.pairs.into_iter().map(PairView::from).collect(),
    };
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    output.table(&grid(&view), "nothing was measured between these")?;
    if (view.pairs.len() as u64) < view.total {
        output.line(&format!(
            "{} of {} pairs are shown",
            view.pairs.len(),
            view.total
        ))?;
    }
    Ok(())
}

fn grid(view: &QualityView) -> Grid {
    let mut grid = Grid::new(&[
        ">from",
        ">to",
        "by",
        ">p50 ms",
        ">p99 ms",
        ">jitter p99 ms",
        ">loss %",
        ">available Mbit/s",
        "narrowest",
        ">load %",
        "health",
        ">age s",
        ">probes",
    ]);
    let ms = |us: Option<u32>| figure(us.map(|us| f64::from(us) / 1e3), 3);
    for pair in &view.pairs {
        let narrowest = pair.narrowest.as_ref();
        grid.row([
            pair.from.to_string(),
            pair.to.to_string(),
            pair.topology.to_owned(),
            ms(pair.delay_p50_us),
            ms(pair.delay_p99_us),
            ms(pair.jitter_p99_us),
            figure(pair.loss_percent, 2),
            figure(pair.available_kbps.map(|kbps| kbps as f64 / 1e3), 1),
            narrowest.map_or("-".to_owned(), |link| {
                format!("port {} of node {}", link.port, link.node)
            }),
            figure(Some(pair.load_percent), 1),
            pair.health.clone(),
            figure(Some(f64::from(pair.age_ms) / 1e3), 1),
            pair.samples.to_string(),
        ]);
    }
    grid
}
