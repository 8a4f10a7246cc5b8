//! The other half of `explain`: the policy that applies to calls to a name here, as the control plane beside the dataplane has it.

use std::path::{Path, PathBuf};

use dmsc_proto::v1::{ExplainPolicyReply, ExplainPolicyRequest};
use serde::Serialize;

use crate::agent::{self, Agent};
use crate::cli::{Cli, ExplainArgs};
use crate::failure::Failure;
use crate::operator::{self, Address, Operator};
use crate::output::Output;
use crate::policy::PolicyView;
use crate::text::name_or_null;

/// What the control plane said, or why it is not known.
#[derive(Debug, Serialize)]
pub struct PolicyPart {
    /// `null`: plain routes hold, or see `policy_unknown`.
    policy: Option<PolicyView>,
    /// Why nothing is known of policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_unknown: Option<String>,
    /// Prefix of the control plane's route.
    #[serde(skip)]
    pub matched: Option<String>,
}

impl PolicyPart {
    /// Asks the control plane of the same node; a failure is part of the answer.
    pub async fn ask(cli: &Cli, args: &ExplainArgs, agent: Option<&Agent>) -> Self {
        let found = match asked(cli, args, agent).await {
            Ok(reply) => same_node(&reply, agent).map(|()| reply),
            Err(failure) => Err(failure.to_string()),
        };
        match found {
            Ok(reply) => Self {
                policy: reply.policy.map(PolicyView::from),
                policy_unknown: None,
                matched: name_or_null(&reply.matched),
            },
            Err(why) => Self {
                policy: None,
                policy_unknown: Some(why),
                matched: None,
            },
        }
    }

    /// Plain routes hold.
    #[cfg(test)]
    pub fn none() -> Self {
        Self {
            policy: None,
            policy_unknown: None,
            matched: None,
        }
    }

    /// Whether the control plane answered.
    pub fn is_known(&self) -> bool {
        self.policy_unknown.is_none()
    }

    /// For people.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn print(&self, output: &mut Output) -> std::io::Result<()> {
        if let Some(why) = &self.policy_unknown {
            return output.line(&format!("policy      not known: {why}"));
        }
        let Some(policy) = &self.policy else {
            return output.line("policy      none: plain routes hold");
        };
        let of = match &policy.by {
            Some(who) => format!("by hand, {who}"),
            None => format!("of replica {}", policy.replica),
        };
        output.line(&format!(
            "policy      {} {of}, for {}: {}, {} s left",
            policy.id,
            policy.prefix,
            policy.shares_text(),
            policy.left_text()
        ))?;
        output.line(&format!("            {}", policy.state_text()))?;
        output.line(&format!("            because: {}", policy.reason))
    }
}

async fn asked(
    cli: &Cli,
    args: &ExplainArgs,
    agent: Option<&Agent>,
) -> Result<ExplainPolicyReply, Failure> {
    let socket = agent.map(|agent| agent.socket.as_path());
    let beside = socket.or(cli.agent.as_deref()).and_then(operator_beside);
    let address = match (&cli.node, beside) {
        (Some(named), _) => named.clone(),
        (None, Some(beside)) => Address::Socket(beside),
        (None, None) => operator::find(None, agent::SOCKET_DIRECTORY.as_ref())?,
    };
    let mut operator = Operator::connect(address, cli.credentials.as_deref()).await?;
    let request = ExplainPolicyRequest {
        domain: args.domain,
        name: args.name.as_bytes().to_vec(),
    };
    let reply = operator.client.explain_policy(request).await;
    operator.answer(reply)
}

/// Two daemons that happen to run here need not be of one node.
fn same_node(reply: &ExplainPolicyReply, agent: Option<&Agent>) -> Result<(), String> {
    match agent.map(|agent| agent.greeting.node) {
        Some(node) if node != reply.node => Err(format!(
            "the control plane that was asked is of node {}, the dataplane of node {node}; name both of one node with --agent and --node",
            reply.node
        )),
        _ => Ok(()),
    }
}

/// `sg1.operator.sock` beside `sg1.sock` or `sg1.agent.sock`, if it is there.
fn operator_beside(agent: &Path) -> Option<PathBuf> {
    let name = agent.file_name()?.to_str()?;
    let stem = name
        .strip_suffix(".agent.sock")
        .or_else(|| name.strip_suffix(".sock"))?;
    Some(agent.with_file_name(format!("{stem}.{}", operator::SOCKET_END)))
        .filter(|path| path.exists())
}

/// The agent's socket beside a control plane's that was named, if it is there.
pub fn agent_beside(node: &Address) -> Option<PathBuf> {
    let Address::Socket(path) = node else {
        return None;
    };
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(operator::SOCKET_END)?.strip_suffix('.')?;
    [".agent.sock", ".sock"]
        .map(|end| path.with_file_name(format!("{stem}{end}")))
        .into_iter()
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_one_node_are_found_beside_each_other() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        let touch = |name: &str| std::fs::write(at(name), "").expect("write");
        assert_eq!(operator_beside(&at("sg1.sock")), None);
        touch("sg1.operator.sock");
        for agent in ["sg1.sock", "sg1.agent.sock"] {
            assert_eq!(operator_beside(&at(agent)), Some(at("sg1.operator.sock")));
        }
        let node = Address::Socket(at("sg1.operator.sock"));
        assert_eq!(agent_beside(&node), None);
        touch("sg1.sock");
        assert_eq!(agent_beside(&node), Some(at("sg1.sock")));
        assert_eq!(agent_beside(&Address::Socket(at("operator.sock"))), None);
    }
}
