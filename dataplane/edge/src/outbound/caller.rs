//! One connection of a program: to which name each of its requests goes, and what it is answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dmsc_http::host::name_of_host_under;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body::Body as _;

use super::account::Account;
use super::answer::Answer;
use super::attempt::Attempts;
use super::failure::{Failure, Reason};
use super::head::Head;
use super::http::MAX_HEAD;
use super::incoming::Incoming;
use super::pulse::Pulse;
use super::response::{refuse, respond};
use super::upgrade::Own;
use super::upload::Uploads;
use super::{NameSource, headers, upgrade};
use crate::choose::Callee;
use crate::pod::Context;
use crate::stats::Protocol;

/// What the requests of one connection share.
#[derive(Debug)]
pub struct Caller {
    context: Arc<Context>,
    names: NameSource,
    timeout: Duration,
    pulse: Arc<Pulse>,
    /// Most connections call one name only.
    last: Mutex<Option<(Vec<u8>, Arc<Callee>)>>,
}

impl Caller {
    /// Of a connection.
    #[must_use]
    pub fn new(context: Arc<Context>, names: NameSource, pulse: Arc<Pulse>) -> Self {
        let outbound = context.shared.config.outbound.as_ref();
        Self {
            timeout: outbound.map_or(Duration::from_secs(15), |outbound| outbound.timeout),
            context,
            names,
            pulse,
            last: Mutex::default(),
        }
    }

    /// Carries one request to an instance, and its answer back; `own` is the program's connection if it may go over to another protocol.
    pub async fn call(&self, request: Request<Incoming>, own: Option<Own>) -> Response<Answer> {
        let grpc = headers::is_grpc(request.headers());
        let version = request.version();
        let wanted = upgrade::wanted(&request);
        let protocol = match (&wanted, grpc, version) {
            (Some(_), _, _) => Protocol::WebSocket,
            (_, true, _) => Protocol::Grpc,
            (_, _, Version::HTTP_2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let callee = fits(&request, wanted.is_some()).and_then(|()| self.callee(&request));
        let named = callee
            .as_ref()
            .ok()
            .map(|callee| (&callee.name, &callee.stats));
        let mut account = Account::begin(&self.context, named, protocol, Some(self.pulse.call()));
        account.head(request.method(), request.uri());
        let callee = match callee {
            Ok(callee) => callee,
            Err(failure) => return refuse(&failure, None, account),
        };
        let own = own.filter(|_| wanted.is_some());
        let (mut parts, incoming) = request.into_parts();
        if own.is_some() && version == Version::HTTP_2 {
            upgrade::to_first(&mut parts);
        }
        let (head, trace_id) = Head::onward(parts, wanted.as_ref());
        account.trace_id = Some(trace_id);
        if !incoming.is_end_stream() {
            account.uploads = Some(Uploads::new(incoming));
        }
        let attempts = Attempts::new(&callee, &self.context, self.timeout, &mut account);
        let answered = attempts.run(head).await.and_then(|(response, lent)| {
            if own.is_some() {
                upgrade::check(&response, version)?;
            }
            Ok((response, lent))
        });
        match answered {
            Ok((response, lent)) => respond(response, version, lent, own, account),
            Err(failure) => refuse(&failure, Some(&callee), account),
        }
    }

    fn callee(&self, request: &Request<Incoming>) -> Result<Arc<Callee>, Failure> {
        let host: &[u8] = match &self.names {
            NameSource::Fixed(name) => name.as_bytes(),
            NameSource::Host => match request.uri().authority() {
                Some(authority) => authority.as_str().as_bytes(),
                None => request
                    .headers()
                    .get(header::HOST)
                    .map_or(b"", HeaderValue::as_bytes),
            },
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, callee)) = last.as_ref()
            && known == host
        {
            return Ok(Arc::clone(callee));
        }
        let name = match &self.names {
            NameSource::Fixed(name) => name.clone(),
            NameSource::Host => {
                let outbound = self.context.shared.config.outbound.as_ref();
                let suffix = outbound.map_or("dmsc", |outbound| outbound.suffix.as_str());
                name_of_host_under(&String::from_utf8_lossy(host), suffix)
                    .map_err(|error| Failure::new(Reason::BadHost, error.to_string()))?
            }
        };
        let callee = self.context.chooser.callee(&name);
        *last = Some((host.to_vec(), Arc::clone(&callee)));
        Ok(callee)
    }
}

/// Whether it can be called for: no CONNECT, unless it `goes_over` to another protocol, and no head that is too long. HTTP/1.1 has looked for that already.
fn fits(request: &Request<Incoming>, goes_over: bool) -> Result<(), Failure> {
    if request.method() == Method::CONNECT && !goes_over {
        return Err(Failure::new(Reason::Connect, "CONNECT is not spoken here"));
    }
    if request.version() < Version::HTTP_2 {
        return Ok(());
    }
    // As HTTP/2 counts it (RFC 9113, 6.5.2), about.
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    let target = request.uri().path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let length = target + request.headers().iter().map(field).sum::<usize>();
    if length <= MAX_HEAD {
        return Ok(());
    }
    let what = format!("the head of the request has {length} bytes");
    Err(Failure::new(Reason::LongHead, what))
}
