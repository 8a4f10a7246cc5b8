//! A host outside of the mesh: it knows nothing of names, answers DNS and serves a web page.

use crate::lab::Lab;
use crate::plan::OutsidePlan;
use crate::process::{Process, Spec};

/// What its page says.
pub const PAGE: &str = "a page from outside\n";

/// The two servers of the host.
#[derive(Debug)]
pub struct OutsideHost {
    dns: Process,
    web: Process,
}

impl OutsideHost {
    /// Starts both in the namespace that the lab made.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(lab: &Lab, plan: &OutsidePlan) -> anyhow::Result<Self> {
        let root = lab.path().join("www");
        std::fs::create_dir_all(&root)?;
        std::fs::write(root.join("index.html"), PAGE)?;
        let start = |name: &str, command: Vec<String>| {
            let spec = Spec {
                name: name.into(),
                namespace: plan.namespace.clone(),
                command,
                nice: 0,
                survives: lab.kept(),
            };
            Process::start(spec, &lab.logs, false)
        };
        let dns = start(
            "outside-dns",
            vec![
                "dnsmasq".into(),
                "--keep-in-foreground".into(),
                "--conf-file=/dev/null".into(),
                "--pid-file=".into(),
                "--no-resolv".into(),
                "--no-hosts".into(),
                "--user=root".into(),
                "--log-facility=-".into(),
                format!("--address=/{}/{}", plan.host, OutsidePlan::ADDRESS),
            ],
        )?;
        let web = start(
            "outside-web",
            vec![
                "python3".into(),
                "-m".into(),
                "http.server".into(),
                "--bind".into(),
                OutsidePlan::ADDRESS.into(),
                "--directory".into(),
                root.display().to_string(),
                "80".into(),
            ],
        )?;
        Ok(Self { dns, web })
    }

    /// Its processes.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        [&mut self.dns, &mut self.web].into_iter()
    }

    /// Leaves them running.
    pub fn leave(self) {
        self.dns.leave();
        self.web.leave();
    }
}
