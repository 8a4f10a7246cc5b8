//! The configuration of an authority's process: `[spa]`. What it allows stands in the policy file that is named there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dmsc_daemon::Groups;
use dmsc_proto::AUTHORITY_PORT;
use dmsc_spa::identity::Identity;
use serde::Deserialize;
use toml::Spanned;

use crate::mistake::{FileMistakes, Mistakes};
use crate::operator::listen::Addresses;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaConfig {
    /// Path as given, for messages.
    pub file: PathBuf,
    /// The certificate's.
    pub name: String,
    /// Where gateways ask.
    pub listen: SocketAddr,
    /// Folder with cert.pem, key.pem, root.pem, authority.bin.
    pub credentials: PathBuf,
    /// Last serial, revocations in force, audit.
    pub state_dir: PathBuf,
    /// The policy file; relative paths are relative to `file`.
    pub policy: PathBuf,
    /// Unix socket of the operator's API.
    pub operator: Option<PathBuf>,
    /// The operator's API over TCP, with client certificates.
    pub operator_listen: Option<SocketAddr>,
    /// OpenMetrics over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Unix groups with a role.
    pub groups: Groups,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    spa: Section,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: Spanned<String>,
    listen: Option<Spanned<String>>,
    credentials: PathBuf,
    state_dir: PathBuf,
    policy: PathBuf,
    operator: Option<PathBuf>,
    operator_listen: Option<Spanned<String>>,
    metrics: Option<Spanned<String>>,
    view_group: Option<String>,
    operate_group: Option<String>,
    admin_group: Option<String>,
}

impl SpaConfig {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// All mistakes.
    pub fn load(path: &Path) -> Result<Self, FileMistakes> {
        Mistakes::load(path, Self::parse)
    }

    /// Checks `text`; `file` is for messages and relative paths.
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(text: &str, file: &Path) -> Result<Self, FileMistakes> {
        let example = "\"0.0.0.0:35032\" or \"[::]:35032\"";
        let mut mistakes = Mistakes::new(text, file, "spa", example);
        let raw: File = mistakes.read()?;
        let raw = raw.spa;
        if let Err(error) = Identity::authority(raw.name.get_ref()) {
            mistakes.add(raw.name.span().start, &format!("[spa] name: {error}"));
        }
        let any = SocketAddr::from(([0u8; 4], AUTHORITY_PORT));
        let listen = mistakes.address("listen", raw.listen.as_ref());
        let operator_listen = mistakes.address("operator_listen", raw.operator_listen.as_ref());
        let metrics = mistakes.address("metrics", raw.metrics.as_ref());
        mistakes.done()?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Ok(Self {
            file: file.to_path_buf(),
            name: raw.name.into_inner(),
            listen: listen.unwrap_or(any),
            credentials: raw.credentials,
            state_dir: raw.state_dir,
            policy: folder.join(raw.policy),
            operator: raw.operator,
            operator_listen,
            metrics,
            groups: Groups {
                view: raw.view_group,
                operate: raw.operate_group,
                admin: raw.admin_group,
                own_user: false,
            },
        })
    }

    /// Fields that differ, with both values. All of them need a restart.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<String> {
        let (old, new) = (self.fields(), new.fields());
        old.into_iter()
            .zip(new)
            .filter(|(old, new)| old != new)
            .map(|((key, old), (_, new))| format!("spa.{key}: {old} -> {new}"))
            .collect()
    }

    fn fields(&self) -> [(&'static str, String); 11] {
        let path = |path: &Path| format!("{:?}", path.display().to_string());
        let text = |text: Option<String>| text.map_or("(none)".to_owned(), |t| format!("{t:?}"));
        let address = |address: Option<SocketAddr>| text(address.map(|a| a.to_string()));
        [
            ("name", format!("{:?}", self.name)),
            ("listen", address(Some(self.listen))),
            ("credentials", path(&self.credentials)),
            ("state_dir", path(&self.state_dir)),
            ("policy", path(&self.policy)),
            (
                "operator",
                text(self.operator.as_ref().map(|p| p.display().to_string())),
            ),
            ("operator_listen", address(self.operator_listen)),
            ("metrics", address(self.metrics)),
            ("view_group", text(self.groups.view.clone())),
            ("operate_group", text(self.groups.operate.clone())),
            ("admin_group", text(self.groups.admin.clone())),
        ]
    }

    /// Where the operator's API is served.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            socket: self.operator.clone(),
            tcp: self.operator_listen,
            groups: self.groups.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[spa]\nname = \"spa1\"\nlisten = \"127.0.0.1:1\"\ncredentials = \"/c\"\nstate_dir = \"/s\"\npolicy = \"p.toml\"\n";

    fn parse(text: &str) -> Result<SpaConfig, FileMistakes> {
        SpaConfig::parse(text, Path::new("/etc/dmsc/spa.toml"))
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.policy, Path::new("/etc/dmsc/p.toml"));
        assert!(config.diff(&config).is_empty());
        let other = parse(&GOOD.replace("127.0.0.1:1", "127.0.0.1:2")).unwrap();
        assert_eq!(
            config.diff(&other),
            ["spa.listen: \"127.0.0.1:1\" -> \"127.0.0.1:2\""]
        );
    }

    #[test]
    fn mistakes_have_file_line_and_field() {
        let FileMistakes(list) =
            parse(&GOOD.replace("127.0.0.1:1", "here").replace("spa1", "spa/1")).unwrap_err();
        assert_eq!(list.len(), 2, "{list:?}");
        assert!(
            list[0].starts_with("/etc/dmsc/spa.toml:2: [spa] name: "),
            "{list:?}"
        );
        assert!(
            list[1].starts_with("/etc/dmsc/spa.toml:3: [spa] listen: \"here\""),
            "{list:?}"
        );
        let FileMistakes(list) = parse(&GOOD.replace("policy", "polizy")).unwrap_err();
        assert!(list[0].contains("unknown field `polizy`"), "{list:?}");
    }
}
