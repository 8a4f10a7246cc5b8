//! The attempts of one request: at an instance, and again elsewhere if no program got it.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use dmsc_http::preface::Code;
use dmsc_http::repeat::is_idempotent;
use http::{Request, Response, Version};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::account::Account;
use super::failure::{Failure, Reason};
use super::head::Head;
use super::incoming::Incoming;
use super::pool::{self, Lent, SendError};
use super::upload::{Upload, Uploads};
use crate::choose::{Callee, Chosen};
use crate::pod::Context;

/// Attempts of one request.
const ATTEMPTS: u32 = 3;
/// Before the second and third attempt, if there is nobody else to try.
const PAUSES: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(100)];
/// A body that does not come on for so long has stalled.
const STALL: Duration = Duration::from_secs(60);
/// Whoever is asked last has so long at least, however long the attempts before took.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// Those of one request.
#[derive(Debug)]
pub struct Attempts<'a> {
    callee: &'a Callee,
    context: &'a Context,
    timeout: Duration,
    deadline: Instant,
    account: &'a mut Account,
    /// The head, if it may be needed once more.
    kept: Option<Box<Head>>,
}

/// An attempt that brought no answer.
struct Failed {
    failure: Failure,
    /// Whether a program may have got it.
    given: bool,
    /// Whether it was lost with its connection, and no answer of its own is to blame.
    lost: bool,
    /// The request, if nothing of it was sent.
    back: Option<Request<Upload>>,
    /// The instance, if others are to be asked for a while.
    chosen: Option<Chosen>,
}

/// Why there is no head of an answer.
enum Unanswered {
    Quiet(Failure),
    Broken(Box<SendError>),
}

impl<'a> Attempts<'a> {
    /// Of a call of `callee` that has its `account`.
    pub fn new(
        callee: &'a Callee,
        context: &'a Context,
        timeout: Duration,
        account: &'a mut Account,
    ) -> Self {
        Self {
            callee,
            context,
            timeout,
            deadline: account.began() + timeout,
            account,
            kept: None,
        }
    }

    /// The answer, and the connection that it comes on.
    ///
    /// # Errors
    /// What the caller is told.
    pub async fn run(mut self, head: Box<Head>) -> Result<(Response<Incoming>, Lent), Failure> {
        let repeatable = is_idempotent(&head.method);
        let mut tried = Vec::new();
        let mut last = None;
        let mut next = self.body().map(|body| (head, body));
        for attempt in 1..=ATTEMPTS {
            let Some((head, body)) = next.take() else {
                break;
            };
            let Some(chosen) = self.callee.choose(&tried, self.deadline).await else {
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
            let pin = chosen.pin;
            self.account.attempts = attempt;
            self.account.instance = pin;
            let failed = match self.attempt(chosen, head, body, attempt < ATTEMPTS).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            if let Some(chosen) = &failed.chosen {
                chosen.rest();
            }
            if self
                .account
                .uploads
                .as_ref()
                .is_some_and(Uploads::is_broken)
            {
                let what = "the body of the request broke off";
                return Err(Failure::new(Reason::CallerLeft, what));
            }
            let again = !failed.given || (repeatable && failed.lost);
            if !again || Instant::now() >= self.deadline {
                return Err(failed.failure);
            }
            next = match failed.back {
                Some(request) => {
                    let (parts, unsent) = request.into_parts();
                    Some((parts.into(), unsent))
                }
                None => self.kept.take().zip(self.body()),
            };
            tried.push(pin);
            last = Some(failed.failure);
        }
        Err(last
            .unwrap_or_else(|| Failure::new(Reason::NotReached, "no instance took the request")))
    }

    /// The body from its beginning, if all of it is there.
    fn body(&self) -> Option<Upload> {
        match &self.account.uploads {
            Some(uploads) => uploads.again(),
            None => Some(Upload::Empty),
        }
    }

    async fn attempt(
        &mut self,
        chosen: Chosen,
        head: Box<Head>,
        body: Upload,
        not_last: bool,
    ) -> Result<(Response<Incoming>, Lent), Failed> {
        let second = head.version == Version::HTTP_2;
        let dialled = timeout_at(self.deadline.into(), async {
            if second {
                pool::shared(chosen, self.callee, self.context).await
            } else {
                pool::one(chosen, self.callee, self.context).await
            }
        });
        let not_reached = |failure, head: Box<Head>, body, chosen| Failed {
            failure,
            given: false,
            lost: false,
            back: Some(head.with(body)),
            chosen,
        };
        let mut lent = match dialled.await {
            Ok(Ok(lent)) => lent,
            Ok(Err((chosen, error))) => {
                return Err(not_reached((&*error).into(), head, body, Some(chosen)));
            }
            Err(_) => {
                let late = Failure::new(Reason::NotReached, "no instance answered in time");
                return Err(not_reached(late, head, body, None));
            }
        };
        self.account.peer(lent.quic());
        // A copy costs something, and a request that cannot be made again needs none.
        if not_last && (lent.fresh || is_idempotent(&head.method)) {
            self.kept = Some(head.clone());
        } else if let Some(uploads) = &self.account.uploads {
            uploads.keep_no_more();
        }
        let begin = Instant::now();
        let answered = {
            let sent = pin!(lent.send(head.with(body)));
            self.awaited(sent).await
        };
        match answered {
            Ok(response) => {
                lent.quic().connection.answered(begin.elapsed());
                if let Some(uploads) = &self.account.uploads {
                    uploads.keep_no_more();
                }
                Ok((response, lent))
            }
            Err(Unanswered::Quiet(failure)) => Err(Failed {
                failure,
                given: true,
                lost: false,
                back: None,
                chosen: None,
            }),
            Err(Unanswered::Broken(error)) => Err(broken(*error, lent)),
        }
    }

    /// The head of the answer. The time runs anew whenever a piece of the body goes out.
    async fn awaited(
        &self,
        mut sent: Pin<&mut impl Future<Output = Result<Response<Incoming>, Box<SendError>>>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut end = self.deadline.max(Instant::now() + LAST_CHANCE);
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
            let Some(uploads) = &self.account.uploads else {
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

/// What it means that a connection broke under a request.
fn broken(SendError { why, back }: SendError, lent: Lent) -> Failed {
    let code = lent.fate().code();
    let untouched = lent.fate().received() == 0;
    let not_given = code.is_some_and(Code::nothing_given) && untouched;
    // A stream that ended while it was idle says nothing of the instance.
    let avoid = not_given || !lent.quic().connection.is_open();
    let given = back.is_none() && !not_given && !why.is_not_processed();
    let mut failure = Failure::broken(lent.unreadable(&why), code, given);
    let lost = failure.reason == Reason::Lost || why.is_of_all();
    if let Some(ended) = lent.quic().connection.ended() {
        // Nobody knows better than this end.
        failure.what = ended.to_string();
    }
    Failed {
        failure,
        given,
        lost,
        back,
        chosen: avoid.then(|| lent.into_chosen()),
    }
}
