//! Calls to one name: an instance, a connection to it, and another when the first did not take the call.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dmsc_pod::Pin;
use dmsc_quic::{Connector, Endpoint};
use dmsc_wire::NameBuf;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::answer::{Answer, Carrier, Held};
use crate::config::Config;
use crate::error::HttpError;
use crate::h1::{self, Pool};
use crate::h2::Shared;
use crate::instance::Chosen;
use crate::instances::Instances;
use crate::lane::open;
use crate::redial::Redial;
use crate::repeat::is_idempotent;
use crate::replay::{AnyBody, Replay, Source};

/// Attempts of a call that no program was given, or that may be made again.
const ATTEMPTS: usize = 3;
/// How long the first call waits for the registrar; the network chooses the instance when it does not answer.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

/// At most between two looks for connections that nobody uses, or that the other end drains.
const SWEEP: Duration = Duration::from_secs(5);

/// What a call speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// An attempt without an answer.
struct Failed {
    error: HttpError,
    fault: Fault,
}

/// What it says of the place that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing: its program ended the connection.
    None,
    /// The instance refused, or is not there: others are preferred for a while.
    Absent,
    /// As before, but the next one that is dialled there may be another.
    Another,
}

/// Without a connection.
impl From<HttpError> for Failed {
    fn from(error: HttpError) -> Self {
        let fault = match error {
            HttpError::NotSent(_) | HttpError::Refused { .. } => Fault::Absent,
            _ => Fault::None,
        };
        Self { error, fault }
    }
}

/// A name, and the connections to its instances.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: NameBuf,
    connector: Connector,
    instances: Instances,
    h1: Pool,
    h2: Shared,
    redial: Redial,
    places: Arc<Semaphore>,
    replay: usize,
}

impl Upstream {
    pub fn new(endpoint: &Arc<Endpoint>, name: NameBuf, config: &Config) -> Arc<Self> {
        let upstream = Arc::new(Self {
            connector: endpoint.connector(),
            instances: Instances::follow(endpoint, name.clone()),
            name,
            h1: Pool::new(config.idle, config.idle_timeout),
            h2: Shared::new(config.idle_timeout),
            redial: Redial::default(),
            places: Arc::new(Semaphore::new(config.in_flight.max(1))),
            replay: config.replay,
        });
        let every = (config.idle_timeout / 2).clamp(Duration::from_millis(1), SWEEP);
        tokio::spawn(sweep(Arc::downgrade(&upstream), every));
        upstream
    }

    /// Makes a call. With a deadline `after` which it ends, its answer's body included if `whole`.
    ///
    /// # Errors
    /// See [`HttpError`]; a call that may have been executed is made again only if its method is idempotent.
    pub async fn call(
        &self,
        protocol: Protocol,
        request: Request<AnyBody>,
        after: Option<Duration>,
        whole: bool,
    ) -> Result<Response<Answer>, HttpError> {
        let sent = AtomicBool::new(false);
        let Some(after) = after else {
            return self.attempts(protocol, request, &sent).await;
        };
        let deadline = Instant::now() + after;
        let attempts = self.attempts(protocol, request, &sent);
        let answer = tokio::time::timeout_at(deadline, attempts).await;
        let answer = answer.map_err(|_| HttpError::Timeout {
            name: self.name.clone(),
            after,
            sent: sent.load(Relaxed),
        })??;
        Ok(if whole {
            answer.map(|body| body.until(deadline, after))
        } else {
            answer
        })
    }

    async fn attempts(
        &self,
        protocol: Protocol,
        request: Request<AnyBody>,
        sent: &AtomicBool,
    ) -> Result<Response<Answer>, HttpError> {
        let (head, body) = request.into_parts();
        let source = Source::new(body, self.replay);
        let idempotent = is_idempotent(&head.method);
        let (mut tried, mut last, mut executed) = (Vec::new(), None, false);
        self.instances.asked(FIRST_ANSWER).await;
        for _ in 0..ATTEMPTS {
            let (Some(chosen), Some(body)) = (self.instances.choose(&tried), source.replay())
            else {
                break;
            };
            let request = Request::from_parts(head.clone(), body);
            let instance = Arc::clone(&chosen);
            let failed = match self.attempt(protocol, chosen, request, sent).await {
                Ok(answer) => {
                    source.settle();
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            let Failed { error, fault } = failed;
            tracing::debug!(name = %self.name, %error, "an attempt failed");
            if instance.pin.is_some() && fault != Fault::None {
                instance.rest();
                if fault == Fault::Absent {
                    tried.push(instance.pin);
                }
            }
            let safe = error.is_safe_to_repeat();
            executed |= !safe;
            sent.store(executed, Relaxed);
            last = Some(error);
            if !safe && !idempotent {
                break;
            }
        }
        // There is one: without any tried, somebody is chosen, and the body is complete.
        Err(last.unwrap_or_else(|| dmsc_quic::QuicError::NoRoute(self.name.clone()).into()))
    }

    async fn attempt(
        &self,
        protocol: Protocol,
        chosen: Chosen,
        request: Request<Replay>,
        sent: &AtomicBool,
    ) -> Result<Response<Answer>, Failed> {
        let (at, place) = (chosen.pin, self.place().await);
        let (answer, carrier, begin) = match protocol {
            Protocol::H1 => {
                let mut lane = self.lane(at, is_idempotent(request.method())).await?;
                sent.store(true, Relaxed);
                let begin = Instant::now();
                let answer = lane.sender.try_send_request(request).await;
                (answer, Carrier::H1(lane, self.h1.clone()), begin)
            }
            Protocol::H2 => {
                let mut lane = self.h2.take(&self.connector, &self.name, at).await?;
                sent.store(true, Relaxed);
                let begin = Instant::now();
                let answer = lane.sender.try_send_request(request).await;
                (answer, Carrier::H2(lane), begin)
            }
        };
        let under = carrier.under();
        match answer {
            Ok(answer) => {
                under.answered(begin.elapsed());
                let held = Held {
                    carrier,
                    _chosen: chosen,
                    _place: place,
                };
                Ok(answer.map(|body: Incoming| Answer::new(body, self.name.clone(), held)))
            }
            Err(error) => {
                let unsent = error.message().is_some();
                let error = under.failure(&self.name, unsent, error.into_error());
                let fault = match &error {
                    HttpError::Refused { code, .. } if self.redial.may(at, *code) => {
                        under.retire().await;
                        Fault::Another
                    }
                    HttpError::Refused { .. } => Fault::Absent,
                    _ if under.is_lost() => Fault::Absent,
                    _ => Fault::None,
                };
                Err(Failed { error, fault })
            }
        }
    }

    /// One of the calls that may be under way at the same time.
    async fn place(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.places);
        // The semaphore is never closed.
        match places.acquire_owned().await {
            Ok(place) => place,
            Err(_) => std::future::pending().await,
        }
    }

    async fn lane(&self, place: Option<Pin>, idempotent: bool) -> Result<h1::Lane, HttpError> {
        if let Some(lane) = self.h1.take(place, idempotent) {
            return Ok(lane);
        }
        let io = open(&self.connector, &self.name, place).await?;
        let lane = h1::Lane::start(io, place).await;
        lane.map_err(|(under, source)| under.failure(&self.name, true, source))
    }

    fn sweep(&self) {
        self.h1.sweep();
        self.h2.sweep();
    }
}

async fn sweep(upstream: Weak<Upstream>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        upstream.sweep();
    }
}
