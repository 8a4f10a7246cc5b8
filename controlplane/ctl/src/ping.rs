//! `ping NAME`: echo requests from this router, a line per answer and a summary, as ping(8).

use dmsc_proto::v1::EchoReply;
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::PingArgs;
use crate::echo::{self, AnswerView, reason, responder};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::milliseconds;

/// The last line of JSON.
#[derive(Debug, Serialize)]
pub struct SummaryView {
    /// Always "summary": tells this line from those of the answers.
    kind: &'static str,
    name: String,
    sent: u64,
    answered: u64,
    lost: u64,
    round_trip_min_ns: Option<u64>,
    round_trip_avg_ns: Option<u64>,
    round_trip_max_ns: Option<u64>,
}

/// Figures as they grow.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    round_trips_ns: Vec<u64>,
}

impl echo::Tally for Tally {
    type Answer = AnswerView;
    type Summary = SummaryView;

    fn add(&mut self, reply: &EchoReply) {
        self.sent += 1;
        if reply.answered {
            self.round_trips_ns.push(reply.round_trip_ns);
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
        let sum: u128 = self.round_trips_ns.iter().map(|&ns| u128::from(ns)).sum();
        SummaryView {
            kind: "summary",
            name,
            sent: self.sent,
            answered,
            lost: self.sent - answered,
            round_trip_min_ns: self.round_trips_ns.iter().min().copied(),
            // The mean of u64 values is a u64.
            round_trip_avg_ns: (answered > 0).then(|| (sum / u128::from(answered)) as u64),
            round_trip_max_ns: self.round_trips_ns.iter().max().copied(),
        }
    }
}

/// Sends, prints and returns the exit status: 1 when nobody answered.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, args: &PingArgs, output: &mut Output) -> Result<u8, Failure> {
    let mut request = echo::request(&args.name, &args.echo);
    request.count = args.count;
    request.interval_ms = echo::milliseconds_of(args.interval);
    request.vary_flow = args.vary_flow;
    if !output.is_json() {
        output.line(&format!(
            "PING {} from node {} ({}), domain {}, {} bytes of payload",
            args.name,
            agent.greeting.node,
            agent.greeting.node_name,
            args.echo.way.domain,
            args.echo.size
        ))?;
    }
    echo::follow::<Tally>(agent, request, args.name.to_string(), output).await
}

fn line(reply: &EchoReply) -> String {
    if reply.answered {
        format!(
            "answer from {}: seq={} rtt={} ms",
            responder(reply),
            reply.sequence,
            milliseconds(reply.round_trip_ns)
        )
    } else {
        format!("seq={}: {}", reply.sequence, reason(reply))
    }
}

fn text(summary: &SummaryView) -> String {
    let loss = 100.0 * summary.lost as f64 / summary.sent.max(1) as f64;
    let mut text = format!(
        "\n--- {} ---\n{} sent, {} answered, {loss:.1} % lost",
        summary.name, summary.sent, summary.answered
    );
    if let (Some(min), Some(avg), Some(max)) = (
        summary.round_trip_min_ns,
        summary.round_trip_avg_ns,
        summary.round_trip_max_ns,
    ) {
        text.push_str(&format!(
            "\nrtt min/avg/max = {}/{}/{} ms",
            milliseconds(min),
            milliseconds(avg),
            milliseconds(max)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Tally as _;

    fn answered(sequence: u32, round_trip_ns: u64) -> EchoReply {
        EchoReply {
            sequence,
            answered: true,
            round_trip_ns,
            gateway: 4,
            attachment: 3,
            name: b"\x04shop\x01b".to_vec(),
            ..EchoReply::default()
        }
    }

    #[test]
    fn summary_like_ping() {
        let mut tally = Tally::default();
        tally.add(&answered(1, 1_000_000));
        tally.add(&answered(2, 3_000_000));
        tally.add(&EchoReply::default());
        tally.add(&EchoReply::default());
        let text = text(&tally.summary("/shop/b".to_owned()));
        assert!(text.contains("4 sent, 2 answered, 50.0 % lost"), "{text}");
        assert!(
            text.ends_with("rtt min/avg/max = 1.000/2.000/3.000 ms"),
            "{text}"
        );
    }

    #[test]
    fn nothing_answered_has_no_times() {
        let mut tally = Tally::default();
        tally.add(&EchoReply::default());
        let summary = tally.summary("/x".to_owned());
        assert_eq!(summary.round_trip_avg_ns, None);
        assert!(!text(&summary).contains("rtt"));
    }

    #[test]
    fn lines() {
        assert_eq!(
            line(&answered(1, 213_400)),
            "answer from /shop/b at gateway 4, attachment 3: seq=1 rtt=0.213 ms"
        );
        assert_eq!(line(&EchoReply::default()), "seq=0: no answer in time");
    }
}
