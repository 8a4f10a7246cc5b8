//! What is told is known as long as somebody tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_scsc::{GroupId, Scsc};
use dmsc_wire::NodeId;

use super::{Entered, FORGET, FullError, GroupName, InForce, Inner, Scope, TOLD_AGAIN};
use crate::scsc::groups;

impl Inner {
    /// Takes what a gateway tells of its groups; those for which there is no room are left out.
    pub(super) fn enter(
        &mut self,
        now: Duration,
        gateway: NodeId,
        entered: Vec<Entered>,
    ) -> Result<(), FullError> {
        self.heard.insert(gateway, now);
        let Self {
            groups,
            engine,
            table,
            ..
        } = self;
        let stream = self.streams.get(&gateway).map_or(0, |own| own.number);
        let in_force = StillInForce(&self.in_force, now);
        let mut taken = Ok(());
        for one in entered {
            let told = groups.tell(engine, table, &in_force, (gateway, stream), one);
            taken = taken.and(told);
        }
        taken
    }

    /// Forgets what was measured long ago, and groups that nobody tells any more.
    pub(super) fn tidy(&mut self, now: Duration) {
        let is_old = |at: &Duration| now.saturating_sub(*at) >= FORGET;
        self.quality.retain(|_, (at, _)| !is_old(at));
        let all: Vec<NodeId> = self.groups.gateways().collect();
        for gateway in all {
            match self.streams.get(&gateway) {
                Some(own) if now.saturating_sub(own.opened) < TOLD_AGAIN => {}
                Some(own) => {
                    let told = Some(own.number);
                    self.groups.forget_all_but(&mut self.engine, gateway, told);
                }
                None if self.heard.get(&gateway).is_none_or(is_old) => {
                    self.groups.forget_all_but(&mut self.engine, gateway, None);
                }
                None => {}
            }
        }
        self.heard.retain(|_, at| !is_old(at));
    }
}

/// Of policies those that are not over.
struct StillInForce<'a>(&'a BTreeMap<Scope, InForce>, Duration);

impl groups::InForce for StillInForce<'_> {
    fn take_up(&self, engine: &mut Scsc, group: GroupId, name: &GroupName, gateway: NodeId) {
        let scope = (name.0, name.1.clone(), gateway);
        let Some(one) = self.0.get(&scope).filter(|one| one.until > self.1) else {
            return;
        };
        let shares = &one.policy.shares;
        match one.policy.set_by() {
            Some(_) => engine.hold(group, gateway, shares, one.until),
            None => engine.resume(group, gateway, shares, one.until),
        };
    }
}

#[cfg(test)]
mod tests {
    use dmsc_scsc::{Pair, Report, Topology};
    use dmsc_spa::credentials::Credentials;
    use dmsc_spa::identity::Identity;
    use dmsc_spa::pki::{Root, Scope as Speaks};
    use dmsc_spa::verify::RootKey;
    use dmsc_wire::{Domain, NameBuf};

    use super::*;
    use crate::scsc::config::CenterConfig;
    use crate::scsc::state::{Center, Gone, ToGateway};

    const GATEWAY: NodeId = NodeId(11);

    struct Scene {
        center: Center,
        root: RootKey,
        node: Credentials,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let root = Root::init(&at("root"), "dmsc.test", 1).unwrap();
            let issue = |identity: &str, name: &str| {
                let identity: Identity = identity.parse().unwrap();
                root.issue(&identity, &Speaks::default(), 1, false, &at(name))
                    .unwrap();
                Credentials::load(&at(name)).unwrap()
            };
            let (own, node) = (issue("scsc/scsc1", "scsc1"), issue("node/11/sg", "node11"));
            let state = at("state");
            let text = format!(
                "[scsc]\nname = \"scsc1\"\nreplica = 1\ncredentials = \"/none\"\nstate_dir = {state:?}\n"
            );
            let config = CenterConfig::parse(&text, "scsc.toml".as_ref()).unwrap();
            Self {
                center: Center::new(config, &own).unwrap(),
                root: own.root_key().unwrap(),
                node,
                _folder: folder,
            }
        }

        fn connect(&self) -> (u64, ToGateway, Gone) {
            let der = &self.node.certificate_der;
            let certificate = self.root.certificate_of_any_time(der).unwrap();
            let (number, sender, _, gone) =
                self.center
                    .open(GATEWAY, certificate, &std::collections::HashMap::new());
            (number, sender, gone)
        }

        fn tell(&self, name: &str) {
            let one = Entered {
                domain: Domain(1),
                prefix: NameBuf::parse(name).unwrap(),
                kbps: 0,
                plain: vec![NodeId(1)],
                others: vec![NodeId(2)],
            };
            let pair = Pair {
                gateway: GATEWAY,
                member: NodeId(1),
                topology: Topology::Metric,
            };
            self.center
                .take(GATEWAY, vec![(pair, Report::default())], vec![one])
                .unwrap();
            self.center.tick();
        }

        /// Groups and pairs, so much later.
        fn after(&self, later: Duration) -> (usize, usize) {
            self.center.inner().tidy(self.center.now() + later);
            let counts = self.center.counts();
            (counts.groups, counts.pairs)
        }
    }

    #[test]
    fn a_gateway_that_is_gone_is_forgotten() {
        let scene = Scene::new();
        let (number, _sender, _gone) = scene.connect();
        scene.tell("/a");
        scene.tell("/b");
        assert_eq!(scene.after(2 * FORGET), (2, 0), "connected, and silent");
        scene.center.left(GATEWAY, number);
        scene.tell("/a");
        assert_eq!(scene.after(FORGET / 2), (2, 1));
        assert_eq!(scene.after(FORGET + Duration::from_secs(1)), (0, 0));
    }

    #[test]
    fn what_is_not_told_again_over_the_next_stream_is_forgotten() {
        let scene = Scene::new();
        let _first = scene.connect();
        scene.tell("/a");
        scene.tell("/b");
        let _second = scene.connect();
        scene.tell("/b");
        assert_eq!(scene.after(TOLD_AGAIN / 2).0, 2);
        assert_eq!(scene.after(TOLD_AGAIN + Duration::from_secs(1)).0, 1);
    }
}
