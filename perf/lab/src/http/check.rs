//! Calls at a steady rate, each with a number of its own, and what became of every one: answered, failed with a clear error, or neither.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::answer::{self, Answer, AnswerError};
use crate::wait;

/// Connections that wait for the next call.
const IDLE: usize = 32;
/// Calls that are under way at once; more are not made, and counted as such.
const UNDER_WAY: usize = 4_096;

/// What to call.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Host name and port.
    pub host: String,
    /// Calls/s.
    pub rate: u32,
    /// For how long.
    pub seconds: f64,
    /// A call that takes longer has no answer.
    pub timeout: Duration,
    /// POST with a short body instead of GET.
    pub post: bool,
    /// Where what became of each call is written.
    pub records: PathBuf,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The right answer, and who gave it.
    Answered(String),
    /// An error that says its reason.
    Refused(u16, String),
    /// Anything else: an answer to another call, an error without a reason, a connection that broke.
    Broken(String),
    /// Nothing within the time-out.
    Late,
}

impl Fate {
    /// For a records file: outcome and instance.
    fn text(&self) -> (String, &str) {
        match self {
            Self::Answered(by) => ("ok".into(), by),
            Self::Refused(status, reason) => (format!("error:{status}:{}", word(reason)), "-"),
            Self::Broken(why) => (format!("broken:{}", word(why)), "-"),
            Self::Late => ("late".into(), "-"),
        }
    }
}

/// One field of a records file.
fn word(text: &str) -> String {
    text.replace(char::is_whitespace, "-")
}

/// Judges the answer to call `number`: nginx says what was asked for, and who it is.
fn judge(number: u64, answer: &Answer) -> Fate {
    if answer.status != 200 {
        return match &answer.reason {
            Some(reason) => Fate::Refused(answer.status, reason.clone()),
            None => Fate::Broken(format!("status {} without a reason", answer.status)),
        };
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let wanted = path(number);
    match text.trim_end().split_once(' ') {
        Some((path, by)) if path == wanted => Fate::Answered(by.into()),
        _ => Fate::Broken(format!("answer to another call: {text:.40}")),
    }
}

fn path(number: u64) -> String {
    format!("/echo/{number}")
}

struct Caller {
    host: String,
    post: bool,
    addresses: Vec<SocketAddr>,
    idle: Mutex<Vec<TcpStream>>,
}

impl Caller {
    /// A connection that waits, if its other end has not closed it.
    fn waiting(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(stream) = idle.pop() {
            let nothing = stream.try_read(&mut [0]);
            if nothing.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock) {
                return Some(stream);
            }
        }
        None
    }

    fn give_back(&self, stream: TcpStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(stream);
        }
    }

    async fn exchange(&self, stream: &mut TcpStream, number: u64) -> Result<Answer, AnswerError> {
        let host = &self.host;
        let path = path(number);
        let request = if self.post {
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nonce")
        } else {
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        };
        stream.write_all(request.as_bytes()).await?;
        answer::read(stream).await
    }

    async fn call(&self, number: u64) -> Fate {
        // A server may close a connection that waits just as the next request comes; every client asks anew then (RFC 9112, 9.3.1).
        let (mut stream, used) = match self.waiting() {
            Some(stream) => (stream, true),
            None => match self.connect().await {
                Ok(stream) => (stream, false),
                Err(error) => return Fate::Broken(format!("connect: {}", error.kind())),
            },
        };
        let mut outcome = self.exchange(&mut stream, number).await;
        let unheard = match &outcome {
            Err(AnswerError::Closed) => true,
            Err(AnswerError::Broken(error)) => matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            ),
            _ => false,
        };
        if unheard && used && !self.post {
            stream = match self.connect().await {
                Ok(stream) => stream,
                Err(error) => return Fate::Broken(format!("connect: {}", error.kind())),
            };
            outcome = self.exchange(&mut stream, number).await;
        }
        match outcome {
            Ok(answer) => {
                if !answer.last {
                    self.give_back(stream);
                }
                judge(number, &answer)
            }
            Err(error) => Fate::Broken(error.to_string()),
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.addresses[..]).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Makes the calls; says `started NS` on standard error when the first one is due. Ends early when this process is asked to.
///
/// # Errors
/// When the host has no address, or the records cannot be written.
pub fn run(options: &CheckOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let text = runtime.block_on(calls(options))?;
    std::fs::write(&options.records, text)
        .with_context(|| format!("cannot write {}", options.records.display()))?;
    println!("{{}}");
    Ok(())
}

async fn calls(options: &CheckOptions) -> anyhow::Result<String> {
    let addresses = tokio::net::lookup_host(&options.host)
        .await
        .with_context(|| format!("{} has no address", options.host))?
        .collect();
    let host = options.host.strip_suffix(":80").unwrap_or(&options.host);
    let caller = Arc::new(Caller {
        host: host.into(),
        post: options.post,
        addresses,
        idle: Mutex::default(),
    });
    let began = tokio::time::Instant::now();
    let began_ns = wait::monotonic_ns();
    eprintln!("started {began_ns}");
    let step = Duration::from_secs_f64(1.0 / f64::from(options.rate.max(1)));
    let total = (options.seconds * f64::from(options.rate)) as u64;
    let (mut running, mut text) = (JoinSet::<String>::new(), String::new());
    for number in 0..total {
        let due = step * u32::try_from(number).unwrap_or(u32::MAX);
        tokio::time::sleep_until(began + due).await;
        if wait::interrupted() {
            break;
        }
        while let Some(done) = running.try_join_next() {
            text.push_str(&done?);
        }
        let due_ns = began_ns + due.as_nanos() as u64;
        if running.len() >= UNDER_WAY {
            line(&mut text, number, due_ns, &Fate::Broken("not made".into()));
            continue;
        }
        let (caller, limit) = (caller.clone(), options.timeout);
        running.spawn(async move {
            let fate = tokio::time::timeout(limit, caller.call(number)).await;
            let mut text = String::new();
            line(&mut text, number, due_ns, &fate.unwrap_or(Fate::Late));
            text
        });
    }
    while let Some(done) = running.join_next().await {
        text.push_str(&done?);
    }
    Ok(text)
}

/// As `dmsc-pod bench` writes its records: `index due_ns latency_ns outcome gateway attachment instance`.
fn line(text: &mut String, number: u64, due_ns: u64, fate: &Fate) {
    let latency = wait::monotonic_ns().saturating_sub(due_ns);
    let (outcome, by) = fate.text();
    let _ = writeln!(text, "{number} {due_ns} {latency} {outcome} 0 0 {by}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_call_counts() {
        let answer = |status, body: &str, reason: Option<&str>| Answer {
            status,
            reason: reason.map(String::from),
            body: body.into(),
            last: false,
        };
        let fate = judge(7, &answer(200, "/echo/7 pod4\n", None));
        assert_eq!(fate, Fate::Answered("pod4".into()));
        let other = judge(7, &answer(200, "/echo/8 pod4\n", None));
        assert!(matches!(other, Fate::Broken(_)));
        let clear = judge(7, &answer(503, "", Some("nobody-listens")));
        assert_eq!(clear.text().0, "error:503:nobody-listens");
        let unclear = judge(7, &answer(502, "", None));
        assert_eq!(unclear.text().0, "broken:status-502-without-a-reason");
    }
}
