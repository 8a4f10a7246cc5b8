//! One request: to which name, to which instance, and again elsewhere if no program got it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_quic::QuicError;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::account::Account;
use super::answer::Answer;
use super::failure::{Failure, Reason};
use super::pool::{self, DialError, Lent};
use super::pulse::Pulse;
use super::upload::{Upload, Uploads};
use super::{NameSource, headers, trace, upgrade};
use crate::choose::{Callee, Chosen};
use crate::host::name_of_host;
use crate::pod::Context;
use crate::preface::Code;
use crate::stats::Protocol;

/// Attempts of one request.
const ATTEMPTS: u32 = 3;
/// Before the second and third attempt, if there is nobody else to try.
const PAUSES: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(100)];
/// A body that does not come on for so long has stalled.
const STALL: Duration = Duration::from_secs(60);

/// One connection of a program, and what its requests share.
#[derive(Debug)]
pub struct Caller {
    context: Arc<Context>,
    names: NameSource,
    timeout: Duration,
    pulse: Arc<Pulse>,
    /// Most connections call one name only.
    last: Mutex<Option<(Vec<u8>, Arc<Callee>)>>,
}

/// The head of a request.
#[derive(Debug, Clone)]
struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Head {
    fn with(self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        request
    }
}

/// An attempt that brought no answer.
struct Failed {
    failure: Failure,
    /// Whether a program may have got it.
    given: bool,
    /// The request, if nothing of it was sent.
    back: Option<Request<Upload>>,
    /// The instance, if others are to be asked for a while.
    chosen: Option<Chosen>,
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

    /// Carries one request to an instance, and its answer back.
    pub async fn call(&self, mut request: Request<Incoming>) -> Response<Answer> {
        let grpc = headers::is_grpc(request.headers());
        let version = request.version();
        let wanted = (version < Version::HTTP_2)
            .then(|| headers::upgrade(request.headers()))
            .flatten();
        let protocol = match (&wanted, grpc, version) {
            (Some(_), _, _) => Protocol::WebSocket,
            (_, true, _) => Protocol::Grpc,
            (_, _, Version::HTTP_2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let callee = self.callee(&request);
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
        let own = wanted.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let (head, incoming) = self.head(request, wanted.as_ref(), &mut account);
        if !incoming.is_end_stream() {
            account.uploads = Some(Uploads::new(incoming));
        }
        match self.attempts(&callee, head, &mut account).await {
            Ok((response, lent)) => respond(response, version, lent, own, account),
            Err(failure) => refuse(&failure, Some(&callee), account),
        }
    }

    fn callee(&self, request: &Request<Incoming>) -> Result<Arc<Callee>, Failure> {
        if request.method() == Method::CONNECT {
            return Err(Failure::new(Reason::Connect, "CONNECT is not spoken here"));
        }
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
                name_of_host(&String::from_utf8_lossy(host), suffix)
                    .map_err(|error| Failure::new(Reason::BadHost, error.to_string()))?
            }
        };
        let callee = self.context.chooser.callee(&name);
        *last = Some((host.to_vec(), Arc::clone(&callee)));
        Ok(callee)
    }

    /// What goes on of a request's head.
    fn head(
        &self,
        request: Request<Incoming>,
        wanted: Option<&HeaderValue>,
        account: &mut Account,
    ) -> (Head, Incoming) {
        let (parts, incoming) = request.into_parts();
        let mut headers = parts.headers;
        headers::end_to_end(&mut headers);
        let second = parts.version == Version::HTTP_2;
        if !second {
            headers.remove(header::TE);
        }
        // It was answered here already.
        headers.remove(header::EXPECT);
        if let Some(wanted) = wanted {
            headers.insert(header::UPGRADE, wanted.clone());
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        account.trace_id = Some(trace::carry_on(&mut headers));
        let head = Head {
            method: parts.method,
            uri: if second {
                parts.uri
            } else {
                origin_form(parts.uri)
            },
            version: if second {
                Version::HTTP_2
            } else {
                Version::HTTP_11
            },
            headers,
        };
        (head, incoming)
    }

    async fn attempts(
        &self,
        callee: &Arc<Callee>,
        head: Head,
        account: &mut Account,
    ) -> Result<(Response<Incoming>, Lent), Failure> {
        let deadline = account.began() + self.timeout;
        let repeatable = is_idempotent(&head.method);
        let mut tried = Vec::new();
        let mut last = None;
        let mut head = Some(head);
        let mut body = match &account.uploads {
            Some(uploads) => uploads.again(),
            None => Some(Upload::Empty),
        };
        for attempt in 1..=ATTEMPTS {
            let (Some(now), Some(sent)) = (head.take(), body.take()) else {
                break;
            };
            let Some(chosen) = callee.choose(&tried, deadline).await else {
                let nobody = || Failure::new(Reason::NobodyServes, "nobody serves this name");
                return Err(last.unwrap_or_else(nobody));
            };
            if let Some(pause) = tried
                .contains(&chosen.pin)
                .then(|| PAUSES.get(attempt as usize - 2))
                .flatten()
            {
                sleep(*pause).await;
            }
            account.attempts = attempt;
            account.instance = chosen.pin;
            let pin = chosen.pin;
            let mut kept = None;
            let result = self
                .attempt(
                    chosen,
                    callee,
                    now,
                    sent,
                    deadline,
                    attempt < ATTEMPTS,
                    &mut kept,
                    account,
                )
                .await;
            let failed = match result {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            if let Some(chosen) = &failed.chosen {
                chosen.rest();
            }
            let broken = account.uploads.as_ref().is_some_and(Uploads::is_broken);
            if broken {
                return Err(Failure::new(
                    Reason::CallerLeft,
                    "the body of the request broke off",
                ));
            }
            let again = !failed.given || (repeatable && failed.failure.reason == Reason::Lost);
            if !again || Instant::now() >= deadline {
                return Err(failed.failure);
            }
            match failed.back {
                Some(request) => {
                    let (parts, unsent) = request.into_parts();
                    head = Some(Head {
                        method: parts.method,
                        uri: parts.uri,
                        version: parts.version,
                        headers: parts.headers,
                    });
                    body = Some(unsent);
                }
                None => {
                    head = kept;
                    body = match &account.uploads {
                        Some(uploads) => uploads.again(),
                        None => Some(Upload::Empty),
                    };
                }
            }
            tried.push(pin);
            last = Some(failed.failure);
        }
        Err(last
            .unwrap_or_else(|| Failure::new(Reason::NotReached, "no instance took the request")))
    }

    #[allow(clippy::too_many_arguments)]
    async fn attempt(
        &self,
        chosen: Chosen,
        callee: &Callee,
        head: Head,
        body: Upload,
        deadline: Instant,
        not_last: bool,
        kept: &mut Option<Head>,
        account: &mut Account,
    ) -> Result<(Response<Incoming>, Lent), Failed> {
        let second = head.version == Version::HTTP_2;
        let dialled = timeout_at(deadline.into(), async {
            if second {
                pool::shared(chosen, callee, &self.context).await
            } else {
                pool::one(chosen, callee, &self.context).await
            }
        });
        let mut lent = match dialled.await {
            Ok(Ok(lent)) => lent,
            Ok(Err((chosen, error))) => {
                return Err(Failed {
                    failure: Failure::new(Reason::NotReached, dial_failed(&error)),
                    given: false,
                    back: Some(head.with(body)),
                    chosen: Some(chosen),
                });
            }
            Err(_) => {
                return Err(Failed {
                    failure: Failure::new(Reason::NotReached, "no instance answered in time"),
                    given: false,
                    back: Some(head.with(body)),
                    chosen: None,
                });
            }
        };
        account.peer(lent.quic());
        // A copy costs something, and a request that cannot be made again needs none.
        if not_last && (lent.fresh || is_idempotent(&head.method)) {
            *kept = Some(head.clone());
        } else if let Some(uploads) = &account.uploads {
            uploads.keep_no_more();
        }
        let sent = self.awaited(&mut lent, head.with(body), account).await;
        match sent {
            Ok(response) => {
                if let Some(uploads) = &account.uploads {
                    uploads.keep_no_more();
                }
                Ok((response, lent))
            }
            Err(Unanswered::Quiet(failure)) => Err(Failed {
                failure,
                given: true,
                back: None,
                chosen: None,
            }),
            Err(Unanswered::Broken(mut error)) => {
                let back = error.take_message();
                let code = lent.fate().code();
                let untouched = lent.fate().received() == 0;
                let not_given = code.is_some_and(Code::is_not_given) && untouched;
                // A stream that ended while it was idle says nothing of the instance.
                let avoid = not_given || !lent.quic().connection.is_open();
                let error = error.into_error();
                let given = back.is_none() && !not_given && !was_refused(&error);
                Err(Failed {
                    failure: broken(&error, code, given),
                    given,
                    back,
                    chosen: avoid.then(|| lent.into_chosen()),
                })
            }
        }
    }

    /// The head of the answer. The time runs anew whenever a piece of the body goes out.
    async fn awaited(
        &self,
        lent: &mut Lent,
        request: Request<Upload>,
        account: &Account,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut sent = pin!(lent.send(request));
        let mut end = account.began() + self.timeout;
        // Attempts before took their time, too; whoever is asked last has a chance all the same.
        end = end.max(Instant::now() + Duration::from_millis(100));
        loop {
            tokio::select! {
                biased;
                answered = &mut sent => return answered.map_err(Unanswered::Broken),
                () = sleep_until(end.into()) => {}
            }
            let timeout = || {
                let what = format!("no answer within {:?}", self.timeout);
                Unanswered::Quiet(Failure::new(Reason::Timeout, what))
            };
            let Some(uploads) = &account.uploads else {
                return Err(timeout());
            };
            let (progress, more) = uploads.progress();
            let limit = if more { STALL } else { self.timeout };
            end = progress + limit;
            if end <= Instant::now() {
                return Err(if more {
                    let what = format!("the body of the request stalled for {STALL:?}");
                    Unanswered::Quiet(Failure::new(Reason::SlowBody, what))
                } else {
                    timeout()
                });
            }
        }
    }
}

enum Unanswered {
    Quiet(Failure),
    Broken(Box<hyper::client::conn::TrySendError<Request<Upload>>>),
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
        Method::TRACE,
    ]
    .contains(method)
}

/// As HTTP/1.1 wants it of a request that goes to the server itself.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query;
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// The program said that it has not processed the request (RFC 9113, 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let over = error.is_go_away() && error.is_remote();
            return error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (over && error.reason() == Some(h2::Reason::NO_ERROR));
        }
        source = cause.source();
    }
    false
}

fn dial_failed(error: &DialError) -> String {
    match error {
        DialError::Quic(QuicError::NoRoute(_)) => "no instance can be reached from here".into(),
        other => other.to_string(),
    }
}

fn broken(error: &hyper::Error, code: Option<Code>, given: bool) -> Failure {
    if error.is_parse() {
        return Failure::new(Reason::BadAnswer, "the program's answer is no HTTP");
    }
    if given {
        let what = match code {
            Some(Code::Gone) => "the program closed the connection before it answered",
            _ => "the connection was lost before an answer came",
        };
        return Failure::new(Reason::Lost, what);
    }
    let what = match code {
        Some(Code::NotServed) => "the instance does not serve this name",
        Some(Code::NobodyListens) => "the instance's program takes no connections",
        Some(Code::Unhealthy) => "the instance's program is not well",
        Some(Code::Overloaded) => "the instance has too many connections",
        Some(Code::Draining) => "the instance ends soon",
        _ => "the connection to the instance was closed",
    };
    Failure::new(Reason::NotReached, what)
}

fn refuse(
    failure: &Failure,
    callee: Option<&Callee>,
    mut account: Box<Account>,
) -> Response<Answer> {
    let grpc = account.protocol == Protocol::Grpc;
    let response = failure.response(callee.map(|callee| &callee.name), grpc);
    account.error = Some(failure.reason.as_str());
    account.status = Some(response.status());
    account.grpc_status = grpc.then(|| failure.reason.grpc());
    response.map(|answer| answer.accounted(account))
}

fn respond(
    mut response: Response<Incoming>,
    version: Version,
    lent: Lent,
    own: Option<hyper::upgrade::OnUpgrade>,
    mut account: Box<Account>,
) -> Response<Answer> {
    account.status = Some(response.status());
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched && let Some(own) = own {
        let theirs = hyper::upgrade::on(&mut response);
        let wanted = response.headers().get(header::UPGRADE).cloned();
        headers::end_to_end(response.headers_mut());
        if let Some(wanted) = wanted {
            response.headers_mut().insert(header::UPGRADE, wanted);
        }
        let connection = HeaderValue::from_static("upgrade");
        response
            .headers_mut()
            .insert(header::CONNECTION, connection);
        tokio::spawn(upgrade::carry(own, theirs, lent, account));
        return response.map(|_| Answer::empty());
    }
    headers::end_to_end(response.headers_mut());
    *response.version_mut() = version;
    account.trailers(response.headers());
    response.map(|incoming| Answer::stream(incoming, lent).accounted(account))
}
