//! Credentials of everything in a lab, from one root that lives as long as the lab.

use std::path::{Path, PathBuf};

use anyhow::Context;
use dmsc_spa::identity::{Identity, Role};
use dmsc_spa::pki::{Root, Scope};
use dmsc_wire::NodeId;

use crate::configs::Paths;
use crate::file::Role as NodeRole;
use crate::plan::Plan;

/// Trust domain of all labs.
const TRUST_DOMAIN: &str = "dmsc.test";
/// Life of what is made for a lab.
const DAYS: u32 = 7;

/// Makes credentials and remembers where they are.
pub struct Issuer {
    root: Root,
    pods: PathBuf,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("pods", &self.pods).finish()
    }
}

impl Issuer {
    /// Makes the root of a lab, and credentials of its routers, authorities and operator.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn prepare(plan: &Plan, paths: Paths<'_>) -> anyhow::Result<Self> {
        let folder = paths.credentials("root");
        let root = Root::init(&folder, TRUST_DOMAIN, DAYS)
            .with_context(|| format!("cannot make a root in {}", folder.display()))?;
        let issue = |identity: Identity, scope: &Scope, folder: &Path| {
            root.issue(&identity, scope, DAYS, false, folder)
                .with_context(|| format!("cannot make credentials in {}", folder.display()))
        };
        let everything = Scope::default();
        for node in &plan.nodes {
            let identity = Identity::Node {
                id: NodeId(node.id.0),
                gateway: node.role == NodeRole::Sg,
            };
            issue(identity, &everything, &paths.credentials(&node.name))?;
        }
        for authority in &plan.authorities {
            let scope = Scope {
                subtrees: authority.subtrees.clone(),
                domains: Vec::new(),
            };
            let identity = Identity::Authority(authority.name.clone());
            issue(identity, &scope, &paths.credentials(&authority.name))?;
        }
        for center in &plan.centers {
            let identity = Identity::Center(center.name.clone());
            issue(identity, &everything, &paths.credentials(&center.name))?;
        }
        let operator = Identity::Operator {
            role: Role::Admin,
            name: "lab".into(),
        };
        issue(operator, &everything, &paths.credentials("operator"))?;
        Ok(Self {
            root,
            pods: paths.credentials("pods"),
        })
    }

    /// The folder with credentials of a pod's identity, made at its first use.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn pod(&self, identity: &str) -> anyhow::Result<PathBuf> {
        let folder = self.pods.join(identity.replace('/', "+"));
        if !folder.join("cert.pem").is_file() {
            self.root
                .issue(
                    &Identity::Pod(identity.into()),
                    &Scope::default(),
                    DAYS,
                    false,
                    &folder,
                )
                .with_context(|| format!("cannot make credentials of pod {identity}"))?;
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    #[test]
    fn everybody_gets_credentials_of_one_root() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths(dir.path());
        let plan = figure2();
        let issuer = Issuer::prepare(&plan, paths).unwrap();
        let load = |folder: &Path| dmsc_spa::credentials::Credentials::load(folder).unwrap();
        let gateway = load(&paths.credentials("sg1"));
        assert_eq!(
            gateway.identity,
            Identity::Node {
                id: NodeId(1),
                gateway: true
            }
        );
        let authority = load(&paths.credentials("spa2"));
        assert!(authority.authority_certificate.is_some());
        let pod = issuer.pod("pod1/a").unwrap();
        let first = load(&pod);
        assert_eq!(first.identity, Identity::Pod("pod1/a".into()));
        assert_eq!(first.root_pem, gateway.root_pem);
        assert_eq!(issuer.pod("pod1/a").unwrap(), pod);
        assert_eq!(load(&pod).certificate_pem, first.certificate_pem);
    }
}
