//! The demo: what the routers learn by themselves, whom they believe, and what they do with calls, links, gateways, control planes and authorities that
//! fail, foreign networks, noise, and maintenance; and programs that know nothing of names, over edges.

mod bad;
mod call;
mod center;
mod edge;
mod fabric;
mod failures;
mod flaps;
mod grpc;
mod illness;
mod learn;
mod noise;
mod old;
mod ownership;
mod pages;
mod planes;
mod priority;
mod programs;
mod report;
mod restore;
mod revoked;
mod schedule;
mod spread;
pub mod stream;
mod two;
mod under;
mod upgrade;
mod wrk;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;

pub use report::Report;

use crate::lab::{Lab, Options};
use crate::wait;

type StepFn = fn(&mut Lab, &mut Report) -> anyhow::Result<()>;

/// All steps, in order.
const STEPS: &[(&str, StepFn)] = &[
    (CONVERGE, learn::converge),
    ("announce", learn::announce),
    ("ownership", ownership::run),
    ("call", call::run),
    ("two-behind-one", two::run),
    ("link-failure", failures::link),
    ("instance-failure", failures::instance),
    ("gateway-failure", failures::gateway),
    ("foreign-fabric", fabric::run),
    ("priority", priority::run),
    (BEFORE_CENTER, noise::run),
    ("control-plane-kill", planes::one_after_the_other),
    (NO_CENTER, center::run),
    ("upgrade", upgrade::upgrade),
    ("drain", upgrade::drain),
    ("everything-restarts", planes::everything),
    ("curl", pages::curl),
    ("redirect", pages::redirect),
    ("grpc", grpc::both),
    ("programs", programs::all),
    ("curl-under-failure", under::run),
    (BEFORE_OLD_POD, spread::run),
    ("bad-link", bad::link),
    ("bad-http", bad::http),
    (OLD_POD, old::run),
    ("revoked", revoked::run),
    (SCHEDULE, schedule::run),
    (NO_SCSC, schedule::none),
];

/// Steps with unmodified programs: the edges of the lab file run.
const EDGES: &[&str] = &[
    "curl",
    "redirect",
    "grpc",
    "programs",
    "curl-under-failure",
    BEFORE_OLD_POD,
    "bad-link",
    "bad-http",
    "revoked",
];

/// The only step without services.
const CONVERGE: &str = "converge";
const NO_CENTER: &str = "no-center";
/// The only steps with scheduling centers: what the others do to links is theirs to judge.
const SCHEDULE: &str = "schedule";
const NO_SCSC: &str = "no-scsc";
/// Some time before `no-center`: gateways ask for new authorisations at a third of the life of what they have, and what lives for a minute is renewed
/// with a shorter life after 20 s, while other steps run.
const BEFORE_CENTER: &str = "noisy-pod";
const OLD_POD: &str = "old-pod";
/// Some time before it, 45 s: nobody knows earlier that a pod answers no probes.
const BEFORE_OLD_POD: &str = "two-behind-far";

/// What to run.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The lab.
    pub lab: PathBuf,
    /// Only these steps; empty: all.
    pub only: Vec<String>,
    /// Where all figures go.
    pub json: Option<PathBuf>,
    /// How the lab is brought up.
    pub up: Options,
}

/// What came out of one step.
#[derive(Debug, Serialize)]
pub struct StepResult {
    /// Its name.
    pub step: String,
    /// Whether it did what it should.
    pub ok: bool,
    /// What was measured.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// Why not.
    pub why: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What came out of all.
#[derive(Debug, Serialize)]
pub struct DemoResult {
    /// Whether all steps were ok.
    pub ok: bool,
    /// Of the whole demo.
    pub seconds: f64,
    /// All steps.
    pub steps: Vec<StepResult>,
}

/// Runs the demo and prints a line per step. The result says whether all was ok.
///
/// # Errors
/// When a step is not known, the lab does not come up, or somebody interrupts.
pub fn run(options: &DemoOptions) -> anyhow::Result<DemoResult> {
    for name in &options.only {
        if !STEPS.iter().any(|(step, _)| step == name) {
            let known: Vec<&str> = STEPS.iter().map(|(step, _)| *step).collect();
            bail!("there is no step {name:?}; there are: {}", known.join(", "));
        }
    }
    let began = Instant::now();
    let up = Options {
        hold_services: true,
        ..options.up.clone()
    };
    let mut lab = Lab::up(&options.lab, &up)?;
    let mut result = DemoResult {
        ok: true,
        seconds: 0.0,
        steps: Vec::new(),
    };
    for (name, step) in STEPS {
        if !chosen(options, name) {
            continue;
        }
        prepare(&mut lab, options, name)?;
        let step = run_step(&mut lab, name, *step);
        result.ok &= step.ok;
        result.steps.push(step);
        result.seconds = began.elapsed().as_secs_f64();
        write(options.json.as_deref(), &result)?;
        if wait::interrupted() {
            bail!("interrupted");
        }
    }
    Ok(result)
}

fn chosen(options: &DemoOptions, name: &str) -> bool {
    options.only.is_empty() || options.only.iter().any(|only| only == name)
}

/// What a step needs that steps before it may not have done, because they were not chosen.
fn prepare(lab: &mut Lab, options: &DemoOptions, name: &str) -> anyhow::Result<()> {
    if ![CONVERGE, "announce"].contains(&name)
        && !lab.has_services()
        && let Err(error) = lab.start_services()
    {
        return Err(lab.explain(error));
    }
    if EDGES.contains(&name)
        && !lab.has_edges()
        && let Err(error) = lab.start_edges()
    {
        return Err(lab.explain(error));
    }
    if [SCHEDULE, NO_SCSC].contains(&name)
        && let Err(error) = lab.start_centers()
    {
        return Err(lab.explain(error));
    }
    if name == BEFORE_CENTER && chosen(options, NO_CENTER) {
        lab.set_authorisation_seconds(center::LIFE)?;
    }
    if name == BEFORE_OLD_POD && chosen(options, OLD_POD) {
        old::launch(lab)?;
    }
    Ok(())
}

fn run_step(lab: &mut Lab, name: &str, step: StepFn) -> StepResult {
    let began = Instant::now();
    let mut report = Report::default();
    let mut why = step(lab, &mut report)
        .err()
        .map(|error| format!("{error:#}"))
        .or_else(|| report.problems());
    let restored = restore::restore(lab);
    if let Err(error) = restored
        && !wait::interrupted()
        && why.is_none()
    {
        why = Some(format!("the lab was not whole again afterwards: {error:#}"));
    }
    let seconds = began.elapsed().as_secs_f64();
    match &why {
        None => println!("demo: {name}: ok ({})", report.line()),
        Some(why) => {
            println!("demo: {name}: FAILED ({})", why.replace('\n', " | "));
            if !report.line().is_empty() {
                println!("  measured: {}", report.line());
            }
            if !wait::interrupted() {
                eprintln!("{:#}", lab.explain(anyhow::anyhow!("step {name}:")));
            }
        }
    }
    StepResult {
        step: name.into(),
        ok: why.is_none(),
        figures: report.figures(),
        why,
        seconds,
    }
}

fn write(path: Option<&Path>, result: &DemoResult) -> anyhow::Result<()> {
    if let Some(path) = path {
        let mut text = serde_json::to_string_pretty(result)?;
        text.push('\n');
        std::fs::write(path, text)?;
    }
    Ok(())
}
