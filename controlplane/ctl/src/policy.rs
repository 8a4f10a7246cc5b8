//! `policy set`, `policy unset`: shares by hand; and how a policy is shown, wherever it comes from.

use dmsc_proto::v1::{self, PolicyInfo, SetPolicyRequest, UnsetPolicyRequest};
use serde::Serialize;

use crate::cli::policy::{Policy, SetArgs, UnsetArgs};
use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;
use crate::text::{joined, name};

/// JSON of a policy.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyView {
    pub(crate) domain: u32,
    pub(crate) prefix: String,
    /// For calls that enter there; `null`: anywhere.
    pub(crate) gateway: Option<u32>,
    pub(crate) shares: Vec<ShareView>,
    pub(crate) ttl_left_ms: u32,
    /// As text: 64 bits do not fit a JSON number.
    pub(crate) id: String,
    epoch: String,
    /// Of the scheduling center.
    pub(crate) replica: u32,
    pub(crate) reason: String,
    /// Who set it by hand; `null`: the scheduling center decided.
    pub(crate) by: Option<String>,
    /// At a scheduling center: what nodes made of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outcomes: Vec<OutcomeView>,
    /// At a gateway or router: "applied", "behind", "ignored", "no route".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// Of a state that is not "applied".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// A member's share.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShareView {
    node: u32,
    weight: u32,
    /// Of all weights.
    percent: f64,
    topology: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct OutcomeView {
    node: u32,
    /// Of the tables that have it.
    generation: Option<u64>,
    refused: Option<String>,
}

impl From<PolicyInfo> for PolicyView {
    fn from(policy: PolicyInfo) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let all: u32 = policy.shares.iter().map(|share| share.weight).sum();
        let share = |share: &v1::PolicyShare| ShareView {
            node: share.gateway,
            weight: share.weight,
            percent: (f64::from(share.weight) * 1e3 / f64::from(all.max(1))).round() / 1e1,
            topology: way(share.topology),
        };
        let outcomes = policy.outcomes.iter().map(|one| OutcomeView {
            node: one.node,
            generation: (one.generation != 0).then_some(one.generation),
            refused: some(one.refused.clone()),
        });
        Self {
            domain: policy.domain,
            prefix: name(&policy.prefix),
            gateway: (policy.gateway != 0).then_some(policy.gateway),
            shares: policy.shares.iter().map(share).collect(),
            ttl_left_ms: policy.ttl_left_ms,
            id: policy.id.to_string(),
            epoch: policy.epoch.to_string(),
            replica: policy.replica,
            outcomes: outcomes.collect(),
            reason: policy.reason,
            by: some(policy.by),
            state: some(policy.state),
            why: some(policy.why),
        }
    }
}

impl PolicyView {
    /// "75 % to 2, 25 % to 3, nothing to 4".
    pub(crate) fn shares_text(&self) -> String {
        joined(self.shares.iter().map(|share| {
            let way = match share.topology {
                "metric" => "",
                _ => " by delay",
            };
            match share.weight {
                0 => format!("nothing to {}", share.node),
                _ => format!("{} % to {}{way}", share.percent, share.node),
            }
        }))
        .replace(',', ", ")
    }

    /// What became of it, as far as whoever was asked knows.
    pub(crate) fn state_text(&self) -> String {
        if let Some(state) = &self.state {
            return match &self.why {
                Some(why) => format!("{state}: {why}"),
                None => state.clone(),
            };
        }
        let told = self.outcomes.iter().map(|one| match &one.refused {
            Some(why) => format!("refused by {}: {why}", one.node),
            None => format!(
                "in force at {}, generation {}",
                one.node,
                one.generation.unwrap_or(0)
            ),
        });
        let told: Vec<String> = told.collect();
        match told.is_empty() {
            true => "not acknowledged yet".to_owned(),
            false => told.join("; "),
        }
    }

    /// The time that is left, in seconds.
    pub(crate) fn left_text(&self) -> String {
        format!("{:.1}", f64::from(self.ttl_left_ms) / 1e3)
    }
}

/// The word for a topology.
pub(crate) fn way(topology: u32) -> &'static str {
    match topology {
        0 => "metric",
        _ => "delay",
    }
}

/// JSON of `policy set`.
#[derive(Debug, Serialize)]
struct SetView {
    policy: PolicyView,
    /// The gateway is connected; otherwise it gets the policy when it comes.
    connected: bool,
}

/// JSON of `policy unset`.
#[derive(Debug, Serialize)]
struct UnsetView {
    gateways: Vec<u32>,
}

/// Asks and prints.
///
/// # Errors
/// When the center refuses, in words that say what is wrong.
pub async fn run(
    operator: &mut Operator,
    what: &Policy,
    output: &mut Output,
) -> Result<(), Failure> {
    match what {
        Policy::Set(args) => set(operator, args, output).await,
        Policy::Unset(args) => unset(operator, args, output).await,
    }
}

async fn set(operator: &mut Operator, args: &SetArgs, output: &mut Output) -> Result<(), Failure> {
    let share = |gateway, weight: u16, by_delay| v1::PolicyShare {
        gateway,
        weight: weight.into(),
        topology: u32::from(by_delay),
    };
    let shares = args.share.iter();
    let named = shares.map(|one| share(one.node, one.weight, one.by_delay));
    let excluded = args.exclude.iter().map(|node| share(*node, 0, false));
    let request = SetPolicyRequest {
        domain: args.domain,
        name: args.name.as_bytes().to_vec(),
        gateway: args.gateway,
        shares: named.chain(excluded).collect(),
        ttl_ms: u32::try_from(args.ttl.as_millis()).unwrap_or(u32::MAX),
        reason: args.reason.clone(),
    };
    let reply = operator.client.set_policy(request).await;
    let reply = operator.answer(reply)?;
    let view = SetView {
        policy: reply.policy.unwrap_or_default().into(),
        connected: reply.connected,
    };
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    let policy = &view.policy;
    output.line(&format!(
        "policy {} for {} at gateway {}: {}, for {} s",
        policy.id,
        policy.prefix,
        args.gateway,
        policy.shares_text(),
        policy.left_text()
    ))?;
    output.line(match view.connected {
        true => "sent; `dmscctl show policies` tells what the gateway made of it",
        false => "the gateway is not connected; it gets the policy when it comes",
    })?;
    Ok(())
}

async fn unset(
    operator: &mut Operator,
    args: &UnsetArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = UnsetPolicyRequest {
        domain: args.domain,
        name: args.name.as_bytes().to_vec(),
        gateway: args.gateway.unwrap_or(0),
    };
    let reply = operator.client.unset_policy(request).await;
    let gateways = operator.answer(reply)?.gateways;
    if output.is_json() {
        return Ok(output.document(&UnsetView { gateways })?);
    }
    output.line(&format!(
        "unset at gateway {}; the scheduling center decides there again",
        joined(gateways)
    ))?;
    Ok(())
}
