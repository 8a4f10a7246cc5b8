//! `probe NAME`: how good the way to a service is, and how the service says it is, measured now.

use dmsc_proto::v1::EchoReply;
use dmsc_wire::Name;
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::probe::ProbeArgs;
use crate::echo::{self, reason, responder};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::{milliseconds, name_or_null};

/// One answer, or its absence, in JSON.
#[derive(Debug, Serialize)]
struct AnswerView {
    sequence: u32,
    answered: bool,
    /// Without the answerer's own time.
    round_trip_ns: Option<u64>,
    residence_ns: Option<u64>,
    /// `healthy`, `draining`, `overloaded`; `null`: the answerer says nothing of itself.
    health: Option<&'static str>,
    load_permille: Option<u32>,
    gateway: Option<u32>,
    attachment: Option<u32>,
    name: Option<String>,
    /// `router`; of a service `instance`, or `gateway` for an instance that answers no probes.
    answered_by: Option<Answerer>,
    error: Option<String>,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answerer {
    Router,
    Instance,
    Gateway,
}

impl Answerer {
    fn of(reply: &EchoReply) -> Option<Self> {
        let is_router = Name::from_bytes(&reply.name).is_ok_and(Name::is_reserved);
        let who = match reply.attachment {
            _ if is_router => Self::Router,
            0 => Self::Gateway,
            _ => Self::Instance,
        };
        reply.answered.then_some(who)
    }
}

impl From<&EchoReply> for AnswerView {
    fn from(reply: &EchoReply) -> Self {
        let answered = reply.answered;
        Self {
            sequence: reply.sequence,
            answered,
            round_trip_ns: answered.then(|| round_trip_ns(reply)),
            residence_ns: answered.then_some(reply.residence_ns),
            health: health(reply),
            load_permille: reply.state_known.then_some(reply.load_permille),
            gateway: answered.then_some(reply.gateway),
            attachment: answered.then_some(reply.attachment),
            name: name_or_null(&reply.name),
            answered_by: Answerer::of(reply),
            error: (!reply.error.is_empty()).then(|| reply.error.clone()),
        }
    }
}

fn round_trip_ns(reply: &EchoReply) -> u64 {
    reply.round_trip_ns.saturating_sub(reply.residence_ns)
}

fn health(reply: &EchoReply) -> Option<&'static str> {
    let word = match reply.health {
        0 => "healthy",
        1 => "draining",
        2 => "overloaded",
        _ => "unknown",
    };
    reply.state_known.then_some(word)
}

/// How some times are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Spread {
    min_ns: u64,
    median_ns: u64,
    p95_ns: u64,
    max_ns: u64,
}

impl Spread {
    fn of(mut times_ns: Vec<u64>) -> Option<Self> {
        times_ns.sort_unstable();
        // The least that a share of all does not exceed.
        let at = |permille: usize| {
            let place = (times_ns.len() * permille).div_ceil(1_000);
            times_ns.get(place.saturating_sub(1)).copied()
        };
        Some(Self {
            min_ns: at(0)?,
            median_ns: at(500)?,
            p95_ns: at(950)?,
            max_ns: at(1_000)?,
        })
    }

    fn text(&self) -> String {
        let times = [self.min_ns, self.median_ns, self.p95_ns, self.max_ns];
        times.map(milliseconds).join("/")
    }
}

/// The last line of JSON.
#[derive(Debug, Serialize)]
struct SummaryView {
    /// Always "summary": tells this line from those of the answers.
    kind: &'static str,
    name: String,
    sent: u64,
    answered: u64,
    lost: u64,
    loss_percent: f64,
    /// Without the answerer's own time.
    round_trip: Option<Spread>,
    /// Difference of consecutive round trips, without sign (RFC 3393, RFC 5481 §4.1).
    delay_variation: Option<Spread>,
    /// As the last answer said it.
    health: Option<&'static str>,
    /// Mean of the answers that said it.
    load_permille: Option<u64>,
    /// Of the answers, how many a gateway gave for an instance that answers no probes.
    answered_by_gateway: u64,
    /// What to do about what is missing.
    hint: Option<String>,
}

/// Figures as they grow.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    /// Of the one before, if it was answered.
    before_ns: Option<u64>,
    round_trips_ns: Vec<u64>,
    variations_ns: Vec<u64>,
    loads: Vec<u64>,
    health: Option<&'static str>,
    by_gateway: u64,
    /// Answers that took no time at all are echo replies.
    stamped: bool,
}

impl echo::Tally for Tally {
    type Answer = AnswerView;
    type Summary = SummaryView;

    fn add(&mut self, reply: &EchoReply) {
        self.sent += 1;
        if !reply.answered {
            // Where one of two is lost there is no difference.
            self.before_ns = None;
            return;
        }
        let round_trip = round_trip_ns(reply);
        if let Some(before) = self.before_ns.replace(round_trip) {
            self.variations_ns.push(round_trip.abs_diff(before));
        }
        self.round_trips_ns.push(round_trip);
        self.by_gateway += u64::from(Answerer::of(reply) == Some(Answerer::Gateway));
        self.stamped |= reply.residence_ns > 0;
        if reply.state_known {
            self.health = health(reply);
            self.loads.push(reply.load_permille.into());
        }
    }

    fn line(reply: &EchoReply) -> String {
        line(reply)
    }

    fn text(summary: &SummaryView) -> String {
        text(summary)
    }

    fn answered(&self) -> u64 {
        self.round_trips_ns.len() as u64
    }

    fn summary(self, name: String) -> SummaryView {
        let answered = self.answered();
        let lost = self.sent - answered;
        let hint = if answered == 0 {
            Some(format!(
                "nobody answered. `dmscctl explain {name}` says where it goes; `dmscctl ping {name}` whether somebody of a release that answers no probes is there"
            ))
        } else if !self.stamped {
            Some("this dataplane or the other end is of a release without probes: these are round trips of echo requests, the answerer's own time is in them".into())
        } else if self.by_gateway > 0 {
            Some(format!(
                "the instance answers no probes: its gateway answered for it, {} times, and times are of the way to there. It is of an older release; `dmscctl ping {name}` goes all the way",
                self.by_gateway
            ))
        } else {
            None
        };
        let loads = self.loads.len() as u64;
        SummaryView {
            kind: "summary",
            name,
            sent: self.sent,
            answered,
            lost,
            loss_percent: 100.0 * lost as f64 / self.sent.max(1) as f64,
            round_trip: Spread::of(self.round_trips_ns),
            delay_variation: Spread::of(self.variations_ns),
            health: self.health,
            load_permille: self.loads.iter().sum::<u64>().checked_div(loads),
            answered_by_gateway: self.by_gateway,
            hint,
        }
    }
}

/// Probes, prints and returns the exit status: 1 when nobody answered.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, args: &ProbeArgs, output: &mut Output) -> Result<u8, Failure> {
    if !output.is_json() {
        output.line(&format!(
            "PROBE {} from node {} ({}), domain {}",
            args.name, agent.greeting.node, agent.greeting.node_name, args.way.domain
        ))?;
    }
    echo::follow::<Tally>(agent, args.request(), args.name.to_string(), output).await
}

fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

fn line(reply: &EchoReply) -> String {
    if !reply.answered {
        return format!("seq={}: {}", reply.sequence, reason(reply));
    }
    let state = match health(reply) {
        Some(health) => format!(", {health}, load {}", percent(reply.load_permille.into())),
        None if Answerer::of(reply) == Some(Answerer::Gateway) => {
            ", for an instance that answers no probes".into()
        }
        None => String::new(),
    };
    format!(
        "answer from {}: seq={} rtt={} ms, residence {} ms{state}",
        responder(reply),
        reply.sequence,
        milliseconds(round_trip_ns(reply)),
        milliseconds(reply.residence_ns)
    )
}

fn text(summary: &SummaryView) -> String {
    let mut text = format!(
        "\n--- {} ---\n{} sent, {} answered, {:.1} % lost",
        summary.name, summary.sent, summary.answered, summary.loss_percent
    );
    for (what, spread) in [
        ("rtt", &summary.round_trip),
        ("delay variation", &summary.delay_variation),
    ] {
        if let Some(spread) = spread {
            text += &format!("\n{what} min/median/95 %/max = {} ms", spread.text());
        }
    }
    match (summary.health, summary.load_permille) {
        (Some(health), Some(load)) => text += &format!("\n{health}, load {}", percent(load)),
        // The hint says it.
        _ if summary.answered_by_gateway > 0 => {}
        _ if summary.answered > 0 => {
            text += "\nhealth and load are not told: a router says nothing of itself, and a pod of an older release neither"
        }
        _ => {}
    }
    if let Some(hint) = &summary.hint {
        text += &format!("\n{hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Tally as _;

    fn answer(sequence: u32, round_trip_ns: u64) -> EchoReply {
        EchoReply {
            sequence,
            answered: true,
            round_trip_ns,
            residence_ns: 10_000,
            gateway: 4,
            attachment: 3,
            name: b"\x04shop\x01b".to_vec(),
            health: 2,
            load_permille: 1_205,
            state_known: true,
            ..EchoReply::default()
        }
    }

    #[test]
    fn the_answerers_own_time_does_not_count_and_loss_breaks_the_row() {
        let mut tally = Tally::default();
        for (sequence, ns) in [
            (0, 1_010_000),
            (1, 1_510_000),
            (3, 9_010_000),
            (4, 9_110_000),
        ] {
            if sequence == 3 {
                tally.add(&EchoReply::default());
            }
            tally.add(&answer(sequence, ns));
        }
        let text = text(&tally.summary("/shop/b".into()));
        for part in [
            "5 sent, 4 answered, 20.0 % lost",
            "rtt min/median/95 %/max = 1.000/1.500/9.100/9.100 ms",
            "delay variation min/median/95 %/max = 0.100/0.100/0.500/0.500 ms",
            "overloaded, load 120.5 %",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(
            line(&answer(1, 223_400)),
            "answer from /shop/b at gateway 4, attachment 3: seq=1 rtt=0.213 ms, residence 0.010 ms, overloaded, load 120.5 %"
        );
    }

    #[test]
    fn what_is_missing_is_explained() {
        let mut tally = Tally::default();
        tally.add(&EchoReply::default());
        let text_of = |tally: Tally| text(&tally.summary("/shop/b".into()));
        assert!(text_of(tally).contains("dmscctl explain /shop/b"));
        let mut tally = Tally::default();
        let by_gateway = EchoReply {
            attachment: 0,
            health: 0,
            load_permille: 0,
            state_known: false,
            ..answer(2, 223_400)
        };
        assert_eq!(
            line(&by_gateway),
            "answer from /shop/b at gateway 4: seq=2 rtt=0.213 ms, residence 0.010 ms, for an instance that answers no probes"
        );
        tally.add(&by_gateway);
        let json = serde_json::to_value(AnswerView::from(&by_gateway)).expect("JSON");
        assert_eq!(json["answered_by"], "gateway");
        let text = text_of(tally);
        assert!(
            text.contains("its gateway answered for it, 1 times") && !text.contains("not told"),
            "{text}"
        );
        for (name, who) in [
            (&b"\x04dmsc\x017"[..], Answerer::Router),
            (b"\x04shop", Answerer::Instance),
        ] {
            let reply = EchoReply {
                name: name.to_vec(),
                ..answer(0, 100)
            };
            assert_eq!(Answerer::of(&reply), Some(who));
        }
        let mut tally = Tally::default();
        tally.add(&EchoReply {
            residence_ns: 0,
            state_known: false,
            ..answer(0, 100)
        });
        let text = text_of(tally);
        assert!(
            text.contains("echo requests") && text.contains("not told"),
            "{text}"
        );
    }
}
