//! `config check|diff|apply|dump`: the declarative file of a control plane (`--node`) or of a dataplane (`--agent`).

use std::io::Read;
use std::path::{Path, PathBuf};

use dmsc_proto::v1::{AgentConfigRequest, ConfigRequest, DumpConfigRequest};
use serde::Serialize;
use tonic::{Code, Status};

use crate::agent::Agent;
use crate::cli::operator::Config;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;

/// The daemon whose file it is.
#[derive(Debug)]
pub enum Daemon {
    /// A control plane.
    Node(Operator),
    /// A dataplane.
    Dataplane(Agent),
}

/// JSON of `config check`, `diff` and `apply`.
#[derive(Debug, Serialize)]
pub struct ConfigView {
    /// "check", "diff" or "apply".
    action: &'static str,
    file: String,
    /// Whether the file differs from what was in force.
    changed: bool,
    /// One line per field: `adjacency[3].metric: 10 -> 20`.
    diff: Vec<String>,
    /// Of the dataplane, after it.
    generation: u64,
}

/// JSON of `config dump`.
#[derive(Debug, Serialize)]
pub struct DumpView {
    /// TOML.
    text: String,
}

/// What a daemon answered.
struct Answer {
    changed: bool,
    diff: Vec<String>,
    text: String,
    generation: u64,
}

/// Asks and prints.
///
/// # Errors
/// When the file cannot be read, has mistakes, or the daemon refuses.
pub async fn run(daemon: &mut Daemon, what: &Config, output: &mut Output) -> Result<(), Failure> {
    let (action, file) = match what {
        Config::Check(args) => ("check", &args.file),
        Config::Diff(args) => ("diff", &args.file),
        Config::Apply(args) => ("apply", &args.file),
        Config::Dump => return dump(daemon, output).await,
    };
    let text = read(file)?;
    let answer = daemon
        .ask(action, text)
        .await
        .map_err(|failure| about(file, failure))?;
    let view = ConfigView {
        action,
        file: file.display().to_string(),
        changed: answer.changed,
        diff: answer.diff,
        generation: answer.generation,
    };
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    if action != "check" {
        for line in &view.diff {
            output.line(line)?;
        }
    }
    let sentence = match (action, view.changed) {
        ("check", _) => format!("{}: ok", view.file),
        (_, false) => "no change: the file says what is in force".to_owned(),
        ("diff", true) => return Ok(()),
        // An authority has no tables.
        _ if view.generation == 0 => "applied".to_owned(),
        _ => format!("applied; generation {}", view.generation),
    };
    output.line(&sentence)?;
    Ok(())
}

async fn dump(daemon: &mut Daemon, output: &mut Output) -> Result<(), Failure> {
    let text = daemon.ask("dump", String::new()).await?.text;
    if output.is_json() {
        output.document(&DumpView { text })?;
    } else {
        output.line(text.trim_end())?;
    }
    Ok(())
}

impl Daemon {
    async fn ask(&mut self, action: &str, text: String) -> Result<Answer, Failure> {
        match self {
            Self::Node(operator) => {
                let request = ConfigRequest { text };
                let reply = match action {
                    "check" => operator.client.check_config(request).await,
                    "diff" => operator.client.diff_config(request).await,
                    "apply" => operator.client.apply_config(request).await,
                    _ => {
                        let reply = operator.client.dump_config(DumpConfigRequest {}).await;
                        return Ok(Answer {
                            changed: false,
                            diff: Vec::new(),
                            text: operator.answer(reply)?.text,
                            generation: 0,
                        });
                    }
                };
                let reply = operator.answer(reply)?;
                Ok(Answer {
                    changed: reply.changed,
                    diff: reply.diff,
                    text: String::new(),
                    generation: reply.generation,
                })
            }
            Self::Dataplane(agent) => {
                let action = action.to_owned();
                let request = AgentConfigRequest { action, text };
                let reply = agent.client.config(request).await?.into_inner();
                Ok(Answer {
                    changed: reply.changed,
                    diff: reply.diff,
                    text: reply.text,
                    generation: reply.generation,
                })
            }
        }
    }
}

/// Mistakes in the file are told with its name.
fn about(file: &Path, failure: Failure) -> Failure {
    let mistakes = |status: &Status| {
        matches!(
            status.code(),
            Code::InvalidArgument | Code::FailedPrecondition
        )
        .then(|| Failure::Mistakes {
            path: named(file),
            message: status.message().to_owned(),
        })
    };
    let told = match &failure {
        Failure::NodeRefused(status) => mistakes(status),
        Failure::Refused(status) => mistakes(status),
        _ => None,
    };
    told.unwrap_or(failure)
}

fn named(file: &Path) -> PathBuf {
    if is_stdin(file) {
        "standard input".into()
    } else {
        file.to_path_buf()
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// The bytes of a file, or of standard input.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = if is_stdin(file) {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    bytes.map_err(|source| Failure::Read {
        path: named(file),
        source,
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = if is_stdin(file) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|source| Failure::Read {
        path: named(file),
        source,
    })
}
