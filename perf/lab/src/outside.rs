//! A host outside of the mesh: it knows nothing of names, answers DNS and serves a web page.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::Lab;
use crate::net;
use crate::plan::OutsidePlan;
use crate::process::{Process, Share, Spec};
use crate::wait;

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
                share: Share::Plain,
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

    /// Waits until both servers accept connections.
    ///
    /// # Errors
    /// When one of them ended or does not listen.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        for (server, port) in [(&mut self.dns, 53), (&mut self.web, 80)] {
            let address: SocketAddr = format!("{}:{port}", OutsidePlan::ADDRESS).parse()?;
            let namespace = server.spec().namespace.clone();
            let what = format!("{} to listen", server.name());
            let mut ended = None;
            wait::until(&what, Duration::from_secs(15), || {
                if let Err(error) = server.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                net::inside(&namespace, move || Ok(TcpStream::connect(address)?))?;
                Ok(Some(()))
            })?;
            ended.map_or(Ok(()), Err)?;
        }
        Ok(())
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
