//! One call of a program from its head to its last byte: counted once, and told to the access log.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dmsc_pod::Pin;
use dmsc_wire::NameBuf;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::failure::Failure;
use super::headers;
use super::pulse::Call;
use super::upload::Uploads;
use crate::pod::Context;
use crate::record::AccessRecord;
use crate::stats::{Class, Direction, NameStats, Protocol, QuicConnection};

/// Longest path in the access log.
const MAX_PATH: usize = 1_024;

/// What only the access log wants to know.
#[derive(Debug)]
struct Told {
    began: SystemTime,
    method: Option<Method>,
    path: Option<String>,
    peer: Option<Arc<QuicConnection>>,
}

/// A call that is not over. Dropping it says that it broke off.
#[derive(Debug)]
pub struct Account {
    context: Arc<Context>,
    stats: Arc<NameStats>,
    name: Option<NameBuf>,
    began: Instant,
    told: Option<Told>,
    _call: Option<Call>,
    ended: bool,
    /// What is spoken.
    pub protocol: Protocol,
    /// How often it was tried.
    pub attempts: u32,
    /// The body of the request; `None`: there is none.
    pub uploads: Option<Uploads>,
    /// Bytes to the program.
    pub bytes_out: u64,
    /// Bytes from the program that are not in `uploads`.
    pub bytes_in: u64,
    /// Of the answer.
    pub status: Option<StatusCode>,
    /// Of a gRPC answer.
    pub grpc_status: Option<u16>,
    /// Why it failed.
    pub error: Option<&'static str>,
    /// Who has it.
    pub instance: Option<Pin>,
    /// Its trace.
    pub trace_id: Option<[u8; 16]>,
}

impl Account {
    /// A call begins; without a name if it could not be told.
    #[must_use]
    pub fn begin(
        context: &Arc<Context>,
        name: Option<(&NameBuf, &Arc<NameStats>)>,
        protocol: Protocol,
        call: Option<Call>,
    ) -> Box<Self> {
        let stats = match name {
            Some((_, stats)) => Arc::clone(stats),
            None => context.shared.stats.of(Direction::Out, None),
        };
        stats.begin();
        Box::new(Self {
            told: context.log.enabled().then(|| Told {
                began: SystemTime::now(),
                method: None,
                path: None,
                peer: None,
            }),
            context: Arc::clone(context),
            stats,
            name: name.map(|(name, _)| name.clone()),
            began: Instant::now(),
            _call: call,
            ended: false,
            protocol,
            attempts: 0,
            uploads: None,
            bytes_out: 0,
            bytes_in: 0,
            status: None,
            grpc_status: None,
            error: None,
            instance: None,
            trace_id: None,
        })
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// Notes the request's head for the access log.
    pub fn head(&mut self, method: &Method, uri: &Uri) {
        if let Some(told) = &mut self.told {
            let path = uri.path();
            let mut end = path.len().min(MAX_PATH);
            while !path.is_char_boundary(end) {
                end -= 1;
            }
            told.method = Some(method.clone());
            told.path = path.get(..end).map(str::to_owned);
        }
    }

    /// Notes who has it.
    pub fn peer(&mut self, quic: &Arc<QuicConnection>) {
        self.instance = quic.connection.instance();
        if let Some(told) = &mut self.told {
            told.peer = Some(Arc::clone(quic));
        }
    }

    /// Notes trailers.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if self.protocol == Protocol::Grpc {
            self.grpc_status = headers::grpc_status(trailers).or(self.grpc_status);
        }
    }

    /// The answer broke off with its connection. The trailers of a gRPC call, which say so.
    pub fn lost(&mut self, failure: &Failure) -> Option<HeaderMap> {
        if self.protocol != Protocol::Grpc {
            return None;
        }
        self.error = Some(failure.reason.as_str());
        self.grpc_status = Some(failure.reason.grpc());
        Some(failure.trailers(self.name.as_ref()))
    }

    /// It is over: as a whole, or broken off.
    pub fn end(&mut self, whole: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let class = match (whole, self.grpc_status, self.status) {
            (false, _, _) => Class::Broken,
            (true, Some(0), _) => Class::Success,
            (true, Some(_), _) => Class::ServerError,
            (true, None, Some(status)) => Class::of_status(status.as_u16()),
            (true, None, None) if self.protocol == Protocol::Tcp => Class::Success,
            (true, None, None) => Class::Broken,
        };
        if !whole && self.error.is_none() {
            self.error = Some("broken-off");
        }
        if let Some(error) = self.error {
            self.context.shared.stats.error(error);
        }
        let duration = self.began.elapsed();
        self.stats.end(self.protocol, class, duration);
        if let Some(told) = self.told.take() {
            let quic = told.peer.as_ref();
            self.context.log.write(AccessRecord {
                began: told.began,
                direction: Direction::Out,
                pod: self.context.identity().to_owned(),
                peer: quic.map_or_else(String::new, |quic| {
                    quic.connection.peer_identity().to_owned()
                }),
                name: self.name.take(),
                instance: self.instance,
                protocol: self.protocol,
                method: told.method,
                path: told.path,
                status: self.status.map(|status| status.as_u16()),
                grpc_status: self.grpc_status,
                error: self.error,
                attempts: self.attempts,
                bytes_in: self.bytes_in + self.uploads.as_ref().map_or(0, Uploads::bytes),
                bytes_out: self.bytes_out,
                duration,
                trace_id: self.trace_id,
            });
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.end(false);
        if matches!(self.protocol, Protocol::Http2 | Protocol::Grpc)
            && let Some(uploads) = self.uploads.take()
        {
            uploads.linger();
        }
    }
}
