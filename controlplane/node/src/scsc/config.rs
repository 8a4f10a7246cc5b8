//! The configuration of a scheduling center's process: `[scsc]`, `[timing]`, `[[threshold]]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_daemon::Groups;
use dmsc_proto::SCHEDULING_PORT;
use dmsc_scsc::policy::{MAX_TTL, MIN_TTL};
use dmsc_scsc::{Level, ReplicaId, Rules, RulesTable, ScscConfig, Thresholds};
use dmsc_spa::identity::Identity;
use dmsc_wire::{Domain, NameBuf};
use serde::Deserialize;
use toml::Spanned;

use super::pace::{Pace, Paced, pace_of};
use crate::mistake::{FileMistakes, Mistakes};

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CenterConfig {
    /// Path as given, for messages.
    pub file: PathBuf,
    /// The certificate's.
    pub name: String,
    /// Where gateways and routers call.
    pub listen: SocketAddr,
    /// Folder with cert.pem, key.pem, root.pem.
    pub credentials: PathBuf,
    /// Epoch, policies in force, decisions.
    pub state_dir: PathBuf,
    /// OpenMetrics over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Unix socket of the operator's API.
    pub operator: Option<PathBuf>,
    /// The operator's API over TCP, with client certificates.
    pub operator_listen: Option<SocketAddr>,
    /// Unix groups with a role on the socket.
    pub groups: Groups,
    /// A page for people over HTTP, for everybody who reaches this address.
    pub page: Option<SocketAddr>,
    /// How it decides; the epoch is that of the start.
    pub engine: ScscConfig,
    /// By tenant and prefix; without a prefix: for all others.
    pub rules: Vec<(Domain, Option<NameBuf>, Rules)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scsc: Spanned<Section>,
    timing: Option<Spanned<TimingSection>>,
    #[serde(default)]
    threshold: Vec<Spanned<ThresholdSection>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: Spanned<String>,
    replica: Spanned<u32>,
    #[serde(default)]
    area: u32,
    listen: Option<Spanned<String>>,
    credentials: PathBuf,
    state_dir: PathBuf,
    metrics: Option<Spanned<String>>,
    operator: Option<PathBuf>,
    operator_listen: Option<Spanned<String>>,
    view_group: Option<String>,
    operate_group: Option<String>,
    admin_group: Option<String>,
    page: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimingSection {
    raise_k: Option<Spanned<u8>>,
    raise_n: Option<Spanned<u8>>,
    doubt_k: Option<Spanned<u8>>,
    clear_n: Option<Spanned<u8>>,
    hold_ms: Option<Spanned<u64>>,
    damping: Option<Spanned<u32>>,
    hold_max_ms: Option<Spanned<u64>>,
    step_permille: Option<Spanned<u16>>,
    ttl_ms: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThresholdSection {
    domain: Option<u32>,
    prefix: Option<Spanned<String>>,
    delay_ms: Option<RawLevel>,
    jitter_ms: Option<RawLevel>,
    loss_percent: Option<RawLevel>,
    bandwidth_mbit: Option<RawLevel>,
    load_percent: Option<RawLevel>,
    raise_k: Option<Spanned<u8>>,
    raise_n: Option<Spanned<u8>>,
    doubt_k: Option<Spanned<u8>>,
    clear_n: Option<Spanned<u8>>,
    hold_ms: Option<Spanned<u64>>,
    damping: Option<Spanned<u32>>,
    hold_max_ms: Option<Spanned<u64>>,
    step_permille: Option<Spanned<u16>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLevel {
    raise: f64,
    clear: f64,
}

impl CenterConfig {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// All mistakes.
    pub fn load(path: &Path) -> Result<Self, FileMistakes> {
        Mistakes::load(path, Self::parse)
    }

    /// Checks `text`; `file` is for messages.
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(text: &str, file: &Path) -> Result<Self, FileMistakes> {
        let mut mistakes = Mistakes::new(text, file, "scsc", "\"0.0.0.0:35034\"");
        let raw: File = mistakes.read()?;
        let section = raw.scsc.into_inner();
        if let Err(error) = Identity::center(section.name.get_ref()) {
            mistakes.add(section.name.span().start, &format!("[scsc] name: {error}"));
        }
        if *section.replica.get_ref() == 0 {
            let at = section.replica.span().start;
            mistakes.add(
                at,
                "[scsc] replica: 0: number the replicas of an area from 1",
            );
        }
        let listen = mistakes.address("listen", section.listen.as_ref());
        let metrics = mistakes.address("metrics", section.metrics.as_ref());
        let operator_listen = mistakes.address("operator_listen", section.operator_listen.as_ref());
        let page = mistakes.address("page", section.page.as_ref());
        let plain = ScscConfig::default();
        let at = raw.timing.as_ref().map_or(0, |timing| timing.span().start);
        let timing = raw.timing.map(Spanned::into_inner).unwrap_or_default();
        let ttl = ttl(&mut mistakes, timing.ttl_ms.as_ref()).unwrap_or(plain.ttl);
        let paced = pace(
            &mut mistakes,
            "[timing]",
            at,
            &pace_of!(timing),
            (plain.timing, plain.step_permille),
        );
        let engine = ScscConfig {
            area: section.area,
            replica: ReplicaId(section.replica.into_inner()),
            timing: paced.0,
            ttl,
            step_permille: paced.1,
            ..plain
        };
        let mut rules: Vec<(Domain, Option<NameBuf>, Rules)> = Vec::new();
        for one in raw.threshold {
            let at = one.span().start;
            if let Some(checked) = threshold(&mut mistakes, at, &one.into_inner(), paced) {
                let same = |(domain, prefix, _): &(Domain, Option<NameBuf>, Rules)| {
                    // Without a prefix it is of all groups, whatever their domain.
                    prefix == &checked.1 && (domain == &checked.0 || prefix.is_none())
                };
                if rules.iter().any(same) {
                    mistakes.add(
                        at,
                        "[[threshold]] prefix: stands here twice in its domain; keep one",
                    );
                }
                rules.push(checked);
            }
        }
        mistakes.done()?;
        Ok(Self {
            file: file.to_path_buf(),
            name: section.name.into_inner(),
            listen: listen.unwrap_or(SocketAddr::from(([0u8; 4], SCHEDULING_PORT))),
            credentials: section.credentials,
            state_dir: section.state_dir,
            metrics,
            operator: section.operator,
            operator_listen,
            groups: Groups {
                view: section.view_group,
                operate: section.operate_group,
                admin: section.admin_group,
                own_user: false,
            },
            page,
            engine,
            rules,
        })
    }

    /// Rules by prefix.
    #[must_use]
    pub fn table(&self) -> RulesTable {
        let others = self.rules.iter().find(|(_, prefix, _)| prefix.is_none());
        let others = match others {
            Some((_, _, rules)) => *rules,
            None => self.engine.rules(Thresholds::default()),
        };
        // All were checked when the file was.
        let mut table = RulesTable::new(others).unwrap_or_default();
        for (domain, prefix, rules) in &self.rules {
            if let Some(prefix) = prefix {
                let _ = table.set(*domain, prefix.clone(), *rules);
            }
        }
        table
    }

    /// Fields that differ and need a restart.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let same = [
            ("name", self.name == new.name),
            ("replica", self.engine.replica == new.engine.replica),
            ("area", self.engine.area == new.engine.area),
            ("listen", self.listen == new.listen),
            ("credentials", self.credentials == new.credentials),
            ("state_dir", self.state_dir == new.state_dir),
            ("metrics", self.metrics == new.metrics),
            ("operator", self.operator == new.operator),
            (
                "operator_listen",
                self.operator_listen == new.operator_listen,
            ),
            (
                "view_group, operate_group, admin_group",
                self.groups == new.groups,
            ),
            ("page", self.page == new.page),
        ];
        let changed = same.into_iter().filter(|(_, same)| !same);
        changed.map(|(field, _)| field).collect()
    }
}

fn ttl(mistakes: &mut Mistakes<'_>, value: Option<&Spanned<u64>>) -> Option<Duration> {
    let value = value?;
    let ttl = Duration::from_millis(*value.get_ref());
    if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
        let sentence = format!(
            "[timing] ttl_ms: {}: write 2000 to 3600000",
            value.get_ref()
        );
        mistakes.add(value.span().start, &sentence);
    }
    Some(ttl)
}

/// `rest` with what stands in the section that begins at `at`.
fn pace(mistakes: &mut Mistakes<'_>, section: &str, at: usize, pace: &Pace, rest: Paced) -> Paced {
    pace.over(rest, |field_at, field, sentence| {
        let sentence = format!("{section} {field}: {sentence}");
        mistakes.add(field_at.unwrap_or(at), &sentence);
    })
}

fn threshold(
    mistakes: &mut Mistakes<'_>,
    at: usize,
    raw: &ThresholdSection,
    rest: Paced,
) -> Option<(Domain, Option<NameBuf>, Rules)> {
    let before = mistakes.count();
    let mut level = |field: &str, raw: Option<RawLevel>, unit: f64| {
        let RawLevel { raise, clear } = raw?;
        if [raise, clear]
            .iter()
            .any(|value| !(0.0..=1e9).contains(value))
        {
            mistakes.add(
                at,
                &format!("[[threshold]] {field}: write numbers from 0 to 1000000000"),
            );
            return None;
        }
        let scaled = |value: f64| (value * unit).round() as u64;
        Some(Level {
            raise: scaled(raise),
            clear: scaled(clear),
        })
    };
    let thresholds = Thresholds {
        delay_us: level("delay_ms", raw.delay_ms, 1e3),
        variation_us: level("jitter_ms", raw.jitter_ms, 1e3),
        loss_ppm: level("loss_percent", raw.loss_percent, 1e4),
        available_kbps: level("bandwidth_mbit", raw.bandwidth_mbit, 1e3),
        load_permille: level("load_percent", raw.load_percent, 1e1),
    };
    for error in thresholds.mistakes() {
        // In the engine's units, so in words only.
        mistakes.add(
            at,
            &format!(
                "[[threshold]] {}: clear must lie on the good side of raise, apart from it",
                error.figure
            ),
        );
    }
    let prefix = raw.prefix.as_ref().and_then(|text| {
        let parsed = NameBuf::parse(text.get_ref());
        if let Err(error) = &parsed {
            mistakes.add(text.span().start, &format!("[[threshold]] prefix: {error}"));
        }
        parsed.ok()
    });
    if raw.domain == Some(0) {
        mistakes.add(at, "[[threshold]] domain: 0: domains are numbered from 1");
    }
    let (timing, step_permille) = pace(mistakes, "[[threshold]]", at, &pace_of!(raw), rest);
    let rules = Rules {
        thresholds,
        timing,
        step_permille,
    };
    let good = mistakes.count() == before;
    good.then(|| (Domain(raw.domain.unwrap_or(1)), prefix, rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[scsc]\nname = \"scsc1\"\nreplica = 1\ncredentials = \"/c\"\nstate_dir = \"/s\"\n\n[[threshold]]\nprefix = \"/shop\"\ndelay_ms = { raise = 50, clear = 40.5 }\n";

    fn parse(text: &str) -> Result<CenterConfig, FileMistakes> {
        CenterConfig::parse(text, Path::new("scsc.toml"))
    }

    #[test]
    fn units_become_those_of_the_engine() {
        let config = parse(GOOD).unwrap();
        let name = NameBuf::parse("/shop/cart").unwrap();
        let found = config.table().of(Domain(1), name.as_name()).thresholds;
        let level = Level {
            raise: 50_000,
            clear: 40_500,
        };
        assert_eq!(found.delay_us, Some(level));
        assert_eq!(config.listen.port(), SCHEDULING_PORT);
    }

    #[test]
    fn mistakes_have_file_line_and_field() {
        for (from, to, told) in [
            ("replica = 1", "replica = 0", "scsc.toml:3: [scsc] replica"),
            ("scsc1", "scsc/1", "scsc.toml:2: [scsc] name: "),
            (
                "clear = 40.5",
                "clear = 60",
                "scsc.toml:7: [[threshold]] delay: clear",
            ),
            ("/shop", "shop", "scsc.toml:8: [[threshold]] prefix: "),
            (
                "delay_ms",
                "delay",
                "scsc.toml:9: [[threshold]]: unknown field `delay`",
            ),
            (
                "\n\n",
                "\n[timing]\nraise_k = 4\n",
                "scsc.toml:7: [timing] raise_k: raise 4 of 3: write",
            ),
            (
                "\n\n",
                "\n[timing]\nttl_ms = 1\n",
                "scsc.toml:7: [timing] ttl_ms: 1: write 2000 to",
            ),
            (
                "delay_ms",
                "raise_n = 1\ndelay_ms",
                "scsc.toml:9: [[threshold]] raise_n: raise 2 of 1: write",
            ),
            (
                "delay_ms",
                "hold_ms = 3600001\ndelay_ms",
                "scsc.toml:9: [[threshold]] hold_ms: hold 3600.001s is longer than hold_max",
            ),
        ] {
            let FileMistakes(list) = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(list[0].starts_with(told), "{list:?}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let wrong = "step_permille = 0\nclear_n = 33\ndamping = 0\ndelay_ms";
        let text = GOOD.replace("delay_ms", wrong).replace("scsc1", "scsc/1");
        let FileMistakes(list) = parse(&text).unwrap_err();
        let told = list.iter().zip([
            "scsc.toml:2: [scsc] name: ",
            "scsc.toml:10: [[threshold]] clear_n: clear after 33 in a row: write 1 to 32",
            "scsc.toml:11: [[threshold]] damping: ",
            "scsc.toml:9: [[threshold]] step_permille: step of 0 thousandths: write 1 to 1000",
        ]);
        for (mistake, start) in told {
            assert!(mistake.starts_with(start), "{list:#?}");
        }
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn a_threshold_has_what_timing_says_and_its_own_instead() {
        let timing = "[timing]\nraise_k = 1\nstep_permille = 100\nhold_ms = 5000\n";
        let own = "raise_n = 5\nstep_permille = 1000\ndamping = 1\ndelay_ms";
        let text = GOOD
            .replace("\n\n", &format!("\n{timing}"))
            .replace("delay_ms", own);
        let config = parse(&text).unwrap();
        let of = |name| {
            let name = NameBuf::parse(name).unwrap();
            config.table().of(Domain(1), name.as_name())
        };
        let (shop, other) = (of("/shop"), of("/other"));
        let windows = |rules: &Rules| {
            (
                rules.timing.raise_k,
                rules.timing.raise_n,
                rules.timing.damping,
            )
        };
        assert_eq!((windows(&shop), shop.step_permille), ((1, 5, 1), 1_000));
        assert_eq!((windows(&other), other.step_permille), ((1, 3, 60), 100));
        assert_eq!(shop.timing.hold, Duration::from_secs(5));
        assert_eq!(other.thresholds, Thresholds::default());
    }

    #[test]
    fn only_decisions_change_without_a_restart() {
        let config = parse(GOOD).unwrap();
        let new = parse(&GOOD.replace("50", "70")).unwrap();
        assert!(config.needs_restart(&new).is_empty());
        let new =
            parse(&GOOD.replace("replica = 1", "replica = 2\nlisten = \"127.0.0.1:1\"")).unwrap();
        assert_eq!(config.needs_restart(&new), ["replica", "listen"]);
    }
}
