//! The configuration of a scheduling center.

use std::path::PathBuf;

use serde::Serialize;

use super::Paths;
use crate::plan::Plan;

#[derive(Debug, Serialize)]
struct CenterFile {
    scsc: Scsc,
    timing: Timing,
    threshold: Vec<Threshold>,
}

#[derive(Debug, Serialize)]
struct Scsc {
    name: String,
    replica: u32,
    area: u32,
    listen: String,
    credentials: PathBuf,
    state_dir: PathBuf,
    operator: PathBuf,
    page: String,
}

#[derive(Debug, Serialize)]
struct Timing {
    /// A lab is to show what ends, too.
    ttl_ms: u64,
    hold_ms: u64,
    clear_n: u32,
    damping: u32,
    step_permille: u32,
}

#[derive(Debug, Serialize)]
struct Threshold {
    domain: u32,
    delay_ms: Level,
    jitter_ms: Level,
    bandwidth_mbit: Level,
    load_percent: Level,
}

#[derive(Debug, Serialize)]
struct Level {
    raise: f64,
    clear: f64,
}

impl Level {
    /// Bad from here on upwards.
    fn above(raise: u32) -> Self {
        Self {
            raise: raise.into(),
            clear: f64::from(raise) * 0.7,
        }
    }

    /// Bad from here on downwards.
    fn below(raise: u32) -> Self {
        Self {
            raise: raise.into(),
            clear: f64::from(raise) * 1.5,
        }
    }
}

/// The configuration of center `index`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn center_file(
    plan: &Plan,
    index: usize,
    paths: Paths<'_>,
) -> Result<String, toml::ser::Error> {
    let center = &plan.centers[index];
    toml::to_string(&CenterFile {
        scsc: Scsc {
            name: center.name.clone(),
            replica: center.replica,
            area: 0,
            listen: format!("0.0.0.0:{}", center.port),
            credentials: paths.credentials(&center.name),
            state_dir: paths.state(&center.name),
            operator: paths.operator(&center.name),
            page: center.page(),
        },
        timing: Timing {
            ttl_ms: 10_000,
            hold_ms: 3_000,
            clear_n: 6,
            // What is broken there on purpose is broken again and again.
            damping: 1,
            step_permille: 500,
        },
        threshold: vec![Threshold {
            domain: 1,
            delay_ms: Level::above(center.delay_ms),
            jitter_ms: Level::above(center.jitter_ms),
            bandwidth_mbit: Level::below(center.bandwidth_mbit),
            load_percent: Level::above(center.load_percent),
        }],
    })
}
