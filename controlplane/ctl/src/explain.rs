//! `explain NAME`: the decisions of the data path for a packet that is never sent, and the policy that stands behind them.

mod policy;

use dmsc_proto::v1::{ExplainReply, ExplainRequest};
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::{Cli, ExplainArgs};
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{name, name_or_null, or_dash, yes};
use crate::{EXIT_OK, EXIT_UNANSWERED};
use policy::PolicyPart;

/// JSON of `explain`.
#[derive(Debug, Serialize)]
pub struct ExplainView {
    name: String,
    flow_label: u32,
    class: u32,
    generation: u64,
    /// "forward", "deliver", or the drop reason.
    verdict: String,
    matched_prefix: Option<String>,
    group: Option<u32>,
    chooser: String,
    gateway: Option<u32>,
    local: bool,
    attachment: Option<u32>,
    attachment_identity: Option<String>,
    path: String,
    /// It goes by the topology of least delay.
    by_delay: bool,
    adjacency: Option<u32>,
    out_port: Option<String>,
    members: Vec<MemberView>,
    next_hops: Vec<NextHopView>,
    steps: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    gateway: u32,
    metric: u32,
    weight: u32,
    primary: bool,
    reachable: bool,
    chosen: bool,
    /// Of its flows so many go there by the topology of least delay, whatever their class.
    by_delay_permille: u32,
}

#[derive(Debug, Serialize)]
struct NextHopView {
    adjacency: u32,
    peer: u32,
    port: String,
    kind: String,
    alive: bool,
    chosen: bool,
}

impl ExplainView {
    fn new(args: &ExplainArgs, reply: ExplainReply) -> Self {
        let some = |number: u32| (number != 0).then_some(number);
        let text = |text: String| (!text.is_empty()).then_some(text);
        Self {
            name: args.name.to_string(),
            flow_label: args.flow,
            class: args.class,
            generation: reply.generation,
            verdict: reply.verdict,
            matched_prefix: name_or_null(&reply.matched_prefix),
            group: some(reply.group),
            chooser: reply.chooser,
            gateway: some(reply.gateway),
            local: reply.local,
            attachment: some(reply.attachment),
            attachment_identity: text(reply.attachment_identity),
            path: reply.path,
            by_delay: reply.by_delay,
            adjacency: some(reply.adjacency),
            out_port: text(reply.out_port),
            members: reply
                .members
                .into_iter()
                .map(|member| MemberView {
                    gateway: member.gateway,
                    metric: member.metric,
                    weight: member.weight,
                    primary: member.primary,
                    reachable: member.reachable,
                    chosen: member.chosen,
                    by_delay_permille: member.by_delay_permille,
                })
                .collect(),
            next_hops: reply
                .next_hops
                .into_iter()
                .map(|hop| NextHopView {
                    adjacency: hop.adjacency,
                    peer: hop.peer,
                    port: hop.port,
                    kind: hop.kind,
                    alive: hop.alive,
                    chosen: hop.chosen,
                })
                .collect(),
            steps: reply.steps,
        }
    }

    /// Whether the packet would arrive somewhere.
    fn passes(&self) -> bool {
        matches!(self.verdict.as_str(), "forward" | "deliver")
    }
}

/// JSON of `explain`, all of it.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    dataplane: &'a ExplainView,
    #[serde(flatten)]
    policy: &'a PolicyPart,
}

/// JSON of `explain` when no dataplane answers.
#[derive(Debug, Serialize)]
struct Half<'a> {
    name: String,
    /// Why nothing is known of the packet's way.
    dataplane_unknown: String,
    #[serde(flatten)]
    policy: &'a PolicyPart,
}

/// Asks dataplane and control plane of one node, prints and returns the exit status: 1 when the packet would be dropped.
///
/// # Errors
/// When the dataplane does not answer, after what the control plane says; when the output cannot be written.
pub async fn run(cli: &Cli, args: &ExplainArgs, output: &mut Output) -> Result<u8, Failure> {
    let mut agent = match agent_of(cli).await {
        Ok(agent) => agent,
        Err(failure) => {
            let policy = PolicyPart::ask(cli, args, None).await;
            if policy.is_known() {
                half(args, &policy, &failure, output)?;
            }
            return Err(failure);
        }
    };
    let policy = PolicyPart::ask(cli, args, Some(&agent)).await;
    let request = ExplainRequest {
        domain: args.domain,
        name: args.name.as_name().as_bytes().to_vec(),
        flow_label: args.flow,
        class: args.class,
        destination_gateway: args.gateway,
        in_port: args.in_port.clone().unwrap_or_default(),
        by_delay: args.by_delay,
    };
    let reply = agent.client.explain(request).await?.into_inner();
    let matched = name(&reply.matched_prefix);
    let view = ExplainView::new(args, reply);
    if output.is_json() {
        output.document(&Whole {
            dataplane: &view,
            policy: &policy,
        })?;
    } else {
        print(&view, &matched, &policy, output)?;
    }
    Ok(if view.passes() {
        EXIT_OK
    } else {
        EXIT_UNANSWERED
    })
}

/// The agent that is named, else the one beside the control plane that is named, else the only one.
async fn agent_of(cli: &Cli) -> Result<Agent, Failure> {
    let beside = cli.node.as_ref().and_then(policy::agent_beside);
    match (&cli.agent, beside) {
        (None, Some(beside)) => Agent::connect(&beside).await,
        _ => crate::agent_of(cli).await,
    }
}

fn half(
    args: &ExplainArgs,
    policy: &PolicyPart,
    failure: &Failure,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.document(&Half {
            name: args.name.to_string(),
            dataplane_unknown: failure.to_string(),
            policy,
        })?);
    }
    let matched = policy.matched.as_deref().unwrap_or("-");
    output.line(&format!(
        "{}: which way a packet would go is not known; what the control plane says:",
        args.name
    ))?;
    output.line(&format!("prefix      {matched}"))?;
    policy.print(output)?;
    Ok(())
}

fn print(
    view: &ExplainView,
    matched: &str,
    policy: &PolicyPart,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line(&summary(view))?;
    let group = view
        .group
        .map_or(String::new(), |group| format!(", group {group}"));
    output.line(&format!("prefix      {matched}{group}"))?;
    policy.print(output)?;
    output.line(&format!("chosen by   {}", or_dash(&view.chooser)))?;
    output.line(&format!("path        {}", or_dash(&view.path)))?;
    output.line(&format!("generation  {}", view.generation))?;
    if !view.members.is_empty() {
        output.line("")?;
        output.line(&members(view).to_string())?;
    }
    if !view.next_hops.is_empty() {
        output.line("")?;
        output.line(&next_hops(view).to_string())?;
    }
    if !view.steps.is_empty() {
        output.line("")?;
        for (index, step) in view.steps.iter().enumerate() {
            output.line(&format!("{:>2}. {step}", index + 1))?;
        }
    }
    Ok(())
}

/// The answer in one line.
fn summary(view: &ExplainView) -> String {
    let what = format!("{} (flow label {})", view.name, view.flow_label);
    if !view.passes() {
        return format!("{what}: dropped, {}", view.verdict);
    }
    if view.local {
        let to = match (view.attachment, &view.attachment_identity) {
            (Some(id), Some(identity)) => format!("attachment {id} ({identity})"),
            (Some(id), None) => format!("attachment {id}"),
            _ => "this router itself".to_owned(),
        };
        return format!("{what}: delivered here, to {to}");
    }
    let number = |value: Option<u32>| value.map_or("-".to_owned(), |value| value.to_string());
    format!(
        "{what}: to gateway {}, over adjacency {} on port {}",
        number(view.gateway),
        number(view.adjacency),
        view.out_port.as_deref().unwrap_or("-")
    )
}

fn members(view: &ExplainView) -> Grid {
    let mut grid = Grid::new(&[
        "member gateway",
        ">metric",
        ">weight",
        ">by delay",
        "role",
        "reachable",
        "chosen",
    ]);
    for member in &view.members {
        grid.row([
            member.gateway.to_string(),
            member.metric.to_string(),
            member.weight.to_string(),
            percent(member.by_delay_permille),
            if member.primary { "primary" } else { "backup" }.to_owned(),
            yes(member.reachable),
            chosen(member.chosen),
        ]);
    }
    grid
}

/// Of thousandths; nothing is "-".
fn percent(permille: u32) -> String {
    match permille {
        0 => "-".to_owned(),
        _ => format!("{} %", f64::from(permille) / 10.0),
    }
}

fn next_hops(view: &ExplainView) -> Grid {
    let mut grid = Grid::new(&[
        "next hop (adjacency)",
        ">to node",
        "port",
        "kind",
        "alive",
        "chosen",
    ]);
    for hop in &view.next_hops {
        grid.row([
            hop.adjacency.to_string(),
            hop.peer.to_string(),
            hop.port.clone(),
            hop.kind.clone(),
            yes(hop.alive),
            chosen(hop.chosen),
        ]);
    }
    grid
}

fn chosen(chosen: bool) -> String {
    if chosen { "<--" } else { "" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing;
    use dmsc_proto::v1::{ExplainMember, ExplainNextHop};

    fn args() -> ExplainArgs {
        ExplainArgs {
            name: dmsc_wire::NameBuf::parse("/shop/b/x").expect("a name"),
            domain: 1,
            flow: 7,
            class: 0,
            gateway: 0,
            by_delay: false,
            in_port: None,
        }
    }

    fn forward() -> ExplainReply {
        ExplainReply {
            generation: 9,
            matched_prefix: b"\x04shop\x01b".to_vec(),
            group: 2,
            members: vec![ExplainMember {
                gateway: 4,
                metric: 30,
                weight: 1,
                primary: true,
                reachable: true,
                chosen: true,
                by_delay_permille: 0,
            }],
            gateway: 4,
            next_hops: vec![ExplainNextHop {
                adjacency: 1,
                peer: 5,
                port: "sr1".to_owned(),
                kind: "primary".to_owned(),
                alive: true,
                chosen: true,
            }],
            adjacency: 1,
            path: "primary".to_owned(),
            out_port: "sr1".to_owned(),
            chooser: "route".to_owned(),
            verdict: "forward".to_owned(),
            steps: vec!["longest prefix /shop/b".to_owned()],
            ..ExplainReply::default()
        }
    }

    #[test]
    fn a_forwarded_packet_is_explained_to_the_end() {
        let view = ExplainView::new(&args(), forward());
        assert!(view.passes());
        let (mut output, written) = testing::output(false);
        print(&view, "/shop/b", &PolicyPart::none(), &mut output).expect("write");
        let text = written.text();
        assert!(
            text.starts_with(
                "/shop/b/x (flow label 7): to gateway 4, over adjacency 1 on port sr1\n"
            ),
            "{text}"
        );
        assert!(text.contains("prefix      /shop/b, group 2"), "{text}");
        assert!(text.contains(" 1. longest prefix /shop/b"), "{text}");
    }

    #[test]
    fn a_drop_says_why_and_local_says_to_whom() {
        let mut reply = forward();
        reply.verdict = "no-route".to_owned();
        let view = ExplainView::new(&args(), reply);
        assert!(!view.passes());
        assert!(summary(&view).ends_with("dropped, no-route"));

        let mut reply = forward();
        reply.verdict = "deliver".to_owned();
        reply.local = true;
        reply.attachment = 3;
        reply.attachment_identity = "pod1/a".to_owned();
        let view = ExplainView::new(&args(), reply);
        assert!(summary(&view).ends_with("delivered here, to attachment 3 (pod1/a)"));
    }
}
