//! `dmsc-pod bench`: calls at a fixed rate whatever the network does, latency from the scheduled time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dmsc_pod::openloop::{
    Flows, Outcome, Sink, Summary, SummaryReport, Template, TemplateOptions, instance_of,
};
use dmsc_wire::{Class, NameBuf};

use super::load::{Load, Run};
use super::{Global, Placement, name};

#[derive(Debug, Args)]
#[command(after_help = "\
Open loop: the schedule is fixed in advance, latency counts from the scheduled time (so a stall shows in every call it delayed), nothing is
sent twice. Lost = no answer within --timeout after the call was sent; failed = an error packet, or not sendable; sent = answered + lost + failed.
SIGINT or SIGTERM stops sending, waits for what is out, prints the result; a second one does not wait.
stderr tells `started NS` (monotonic clock of the first call).
--records writes a line per call, in order of completion: index scheduled_ns latency_ns ok|lost|error:CODE gateway attachment instance
Examples:
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c bench /shop/b --rate 1000 --duration 10
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c --json bench /shop/b --pin 4 --rate 1000 --duration 10 --records calls.txt")]
pub struct Bench {
    /// Names to call, in turn
    #[arg(value_name = "NAME", value_parser = name, required = true)]
    names: Vec<NameBuf>,
    /// Calls per second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Seconds, at most 3600
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    duration: f64,
    #[command(flatten)]
    placement: Placement,
    /// Flow labels: sequential, random, or fixed:NUMBER
    #[arg(long, default_value = "sequential")]
    flows: Flows,
    /// Payload bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=65_535))]
    size: u32,
    /// Write a line per call here
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Send the first call at this time of the monotonic clock
    #[arg(long, value_name = "MONOTONIC_NS")]
    start_at: Option<u64>,
}

fn duration(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0 && *seconds <= 3_600.0)
        .ok_or_else(|| "must be a number of seconds above 0 and at most 3600".to_owned())
}

impl Bench {
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        // Opened first: a path that cannot be written is told before anything is sent.
        let records = self
            .records
            .as_ref()
            .map(|path| File::create(path).with_context(|| format!("--records {}", path.display())))
            .transpose()?;
        let load = Load::connect(global)?;
        let options = TemplateOptions {
            size: self.size as usize,
            pin: self.placement.pin,
            class: Class(self.placement.class),
        };
        let registered = load.background.registered();
        let templates = self
            .names
            .iter()
            .map(|name| Template::new(&registered, name, options))
            .collect();
        let run = Run {
            rate: self.rate,
            total: ((f64::from(self.rate) * self.duration).round() as u64).max(1),
            flows: self.flows,
            timeout: self.placement.timeout(),
            start_at: self.start_at,
        };
        let mut sink = Recorder {
            summary: Summary::default(),
            records: records.map(BufWriter::new),
            failure: None,
        };
        let report = load.run(&run, templates, &mut sink)?;
        if let Some(records) = &mut sink.records {
            let flushed = records.flush();
            flushed
                .and(sink.failure.map_or(Ok(()), Err))
                .context("--records: not written completely")?;
        }
        print(&sink.summary.report(&report), global.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Recorder {
    summary: Summary,
    records: Option<BufWriter<File>>,
    failure: Option<std::io::Error>,
}

impl Sink for Recorder {
    fn finished(&mut self, index: u64, scheduled_ns: u64, outcome: Outcome<'_>) {
        self.summary.finished(index, scheduled_ns, outcome);
        let Some(records) = &mut self.records else {
            return;
        };
        let written = match outcome {
            Outcome::Answered {
                latency_ns,
                gateway,
                attachment,
                payload,
                ..
            } => {
                let instance = String::from_utf8_lossy(instance_of(payload));
                let instance = if instance.is_empty() {
                    "-".into()
                } else {
                    instance.replace(char::is_whitespace, "_")
                };
                writeln!(
                    records,
                    "{index} {scheduled_ns} {latency_ns} ok {gateway} {attachment} {instance}"
                )
            }
            Outcome::Failed { latency_ns, code } => {
                writeln!(
                    records,
                    "{index} {scheduled_ns} {latency_ns} error:{code} 0 0 -"
                )
            }
            Outcome::Lost => writeln!(records, "{index} {scheduled_ns} 0 lost 0 0 -"),
        };
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }
}

/// Prints a result as table or JSON.
pub fn print(report: &SummaryReport, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!(
        "sent {}  answered {}  lost {}  failed {}{}",
        report.sent,
        report.answered,
        report.lost,
        report.failed,
        if report.interrupted {
            "  (interrupted)"
        } else {
            ""
        }
    );
    for (code, count) in &report.errors {
        println!("  {code} {count}");
    }
    if let (Some(p50), Some(p90), Some(p99), Some(p999), Some(max)) = (
        report.p50_us,
        report.p90_us,
        report.p99_us,
        report.p999_us,
        report.max_us,
    ) {
        println!(
            "latency us: p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p99.9 {p999:.0}  max {max:.0}"
        );
    }
    println!(
        "latest send {:.0} us after its time; stray answers {}",
        report.send_late_max_us, report.stray
    );
    for one in report.by_responder.iter().take(20) {
        println!(
            "  {:>10} by {} at gateway {} attachment {} as {}",
            one.count, one.instance, one.gateway, one.attachment, one.name
        );
    }
    if report.by_responder.len() > 20 {
        println!("  and {} more", report.by_responder.len() - 20);
    }
    Ok(())
}
