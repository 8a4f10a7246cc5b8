//! What nobody should send to an HTTP server, and how the server ended it.

mod one;
mod two;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A server that has not ended a case by now lets it go on; its memory is what tells then.
const LONGEST: Duration = Duration::from_secs(14);

/// Whom to bother.
#[derive(Debug, Clone)]
pub struct Target {
    /// HTTP by Host.
    pub http: SocketAddr,
    /// Plain TCP, to a program that speaks first.
    pub tcp: SocketAddr,
    /// Host of a program that answers every request.
    pub host: String,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its name.
    pub case: String,
    /// "status N", "goaway N", "reset N", "closed", "held", or what was read.
    pub how: String,
    /// Whether that is what should be.
    pub ok: bool,
    /// How long it took, ms.
    pub ms: u64,
}

/// What a server may do.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    /// Beginnings of what is right.
    right: &'static [&'static str],
}

const fn case(name: &'static str, right: &'static [&'static str]) -> Case {
    Case { name, right }
}

impl Case {
    fn ended(self, how: String, since: Instant) -> Ended {
        let ok = self.right.iter().any(|right| how == *right);
        let ms = since.elapsed().as_millis() as u64;
        Ended {
            case: self.name.into(),
            how,
            ok,
            ms,
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await;
    stream.map_err(|error| format!("connect: {}", error.kind()))
}

/// Runs all cases, some at once, and returns how each ended, in order of their names.
///
/// # Errors
/// When the runtime does not start.
pub fn run(target: &Target) -> anyhow::Result<Vec<Ended>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let mut all = JoinSet::new();
        one::spawn_all(&mut all, target);
        two::spawn_all(&mut all, target);
        let mut ended = all.join_all().await;
        ended.sort_by(|a, b| a.case.cmp(&b.case));
        ended
    }))
}

/// Adds a case to those that run.
fn spawn<F>(all: &mut JoinSet<Ended>, case: Case, work: F)
where
    F: Future<Output = Result<String, String>> + Send + 'static,
{
    all.spawn(async move {
        let since = Instant::now();
        let how = tokio::time::timeout(LONGEST, work).await;
        let how = how.unwrap_or_else(|_| Ok("held".into()));
        case.ended(how.unwrap_or_else(|why| why), since)
    });
}
