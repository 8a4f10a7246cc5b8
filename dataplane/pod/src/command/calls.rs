//! `dmsc-pod calls`: every name of a file once, open loop, and what became of each.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dmsc_pod::openloop::{Flows, Outcome, Sink, Summary, Template, TemplateOptions, instance_of};
use dmsc_wire::{Class, NameBuf};

use super::load::{Load, Run};
use super::{Global, Placement, bench};

#[derive(Debug, Args)]
#[command(after_help = "\
FILE: a name in text form per line; what follows a tab is ignored. --out gets a line per name, in the order of FILE:
name<TAB>ok|lost|error:CODE<TAB>instance<TAB>gateway<TAB>attachment
Example:
  dmsc-pod --gateway 10.1.1.1 --identity pod1/c calls names.txt --rate 500 --out outcomes.txt")]
pub struct Calls {
    /// Names to call
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Calls per second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    #[command(flatten)]
    placement: Placement,
    /// Payload bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=65_535))]
    size: u32,
    /// Where to write what became of each
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Send the first call at this time of the monotonic clock
    #[arg(long, value_name = "MONOTONIC_NS")]
    start_at: Option<u64>,
}

impl Calls {
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let names = read(&self.file)?;
        let out = self
            .out
            .as_ref()
            .map(|path| File::create(path).with_context(|| format!("--out {}", path.display())))
            .transpose()?;
        let load = Load::connect(global)?;
        let options = TemplateOptions {
            size: self.size as usize,
            pin: self.placement.pin,
            class: Class(self.placement.class),
        };
        let registered = load.background.registered();
        let templates = names
            .iter()
            .map(|name| Template::new(&registered, name, options))
            .collect();
        let run = Run {
            rate: self.rate,
            total: names.len() as u64,
            flows: Flows::Sequential(rand::random()),
            timeout: self.placement.timeout(),
            start_at: self.start_at,
        };
        let mut sink = Outcomes {
            summary: Summary::default(),
            lines: vec![None; names.len()],
        };
        let report = load.run(&run, templates, &mut sink)?;
        if let Some(out) = out {
            write(out, &names, &sink.lines).context("--out: not written completely")?;
        }
        let mut summary = sink.summary.report(&report);
        // One responder per name would bury the rest.
        summary.by_responder.clear();
        bench::print(&summary, global.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<NameBuf>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('\t').next().unwrap_or_default();
        if !name.is_empty() {
            names.push(
                NameBuf::parse(name)
                    .with_context(|| format!("{}:{}: {name:?}", file.display(), index + 1))?,
            );
        }
    }
    anyhow::ensure!(!names.is_empty(), "{}: no names", file.display());
    Ok(names)
}

/// Writes a line per name; what was not sent (a signal came) is told as such.
fn write(out: File, names: &[NameBuf], lines: &[Option<String>]) -> std::io::Result<()> {
    let mut out = BufWriter::new(out);
    for (name, line) in names.iter().zip(lines) {
        writeln!(
            out,
            "{name}\t{}",
            line.as_deref().unwrap_or("error:not-sent\t-\t0\t0")
        )?;
    }
    out.flush()
}

struct Outcomes {
    summary: Summary,
    lines: Vec<Option<String>>,
}

impl Sink for Outcomes {
    fn finished(&mut self, index: u64, scheduled_ns: u64, outcome: Outcome<'_>) {
        self.summary.finished(index, scheduled_ns, outcome);
        let line = match outcome {
            Outcome::Answered {
                gateway,
                attachment,
                payload,
                ..
            } => {
                let instance =
                    String::from_utf8_lossy(instance_of(payload)).replace(char::is_whitespace, "_");
                format!("ok\t{instance}\t{gateway}\t{attachment}")
            }
            Outcome::Failed { code, .. } => format!("error:{code}\t-\t0\t0"),
            Outcome::Lost => "lost\t-\t0\t0".to_owned(),
        };
        if let Some(place) = usize::try_from(index)
            .ok()
            .and_then(|index| self.lines.get_mut(index))
        {
            *place = Some(line);
        }
    }
}
