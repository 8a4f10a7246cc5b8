//! `show services`: what the pods behind an edge serve and call.

use dmsc_proto::v1::{EdgeService, ListServicesReply, ListServicesRequest};
use serde::Serialize;

use crate::cli::EdgeArgs;
use crate::edge::{Client, Edge};
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{name_or_null, or_dash};

/// JSON of `show services`.
#[derive(Debug, Serialize)]
pub struct ServicesView {
    services: Vec<ServiceView>,
}

#[derive(Debug, Serialize)]
struct ServiceView {
    pod: String,
    direction: String,
    /// `null`: all names that there was no room to count apart.
    name: Option<String>,
    /// Of what is served: the program's address and port.
    to: Option<String>,
    /// Of what is called: instances that connections are open to.
    instances: Option<u32>,
    health: Option<String>,
    requests: u64,
    errors: u64,
    in_flight: u64,
}

impl From<EdgeService> for ServiceView {
    fn from(one: EdgeService) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        Self {
            instances: (one.direction == "out").then_some(one.instances),
            pod: one.pod,
            direction: one.direction,
            name: name_or_null(&one.name),
            to: text(one.to),
            health: text(one.health),
            requests: one.requests,
            errors: one.errors,
            in_flight: one.in_flight,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the edge refuses or the output cannot be written.
pub async fn run(edge: &Edge, args: &EdgeArgs, output: &mut Output) -> Result<(), Failure> {
    let ask = |mut client: Client, limit, after| {
        let pod = args.pod.clone().unwrap_or_default();
        async move {
            let request = ListServicesRequest { limit, after, pod };
            client.list_services(request).await
        }
    };
    let ListServicesReply { services, .. } = edge.pages(ask).await?;
    let view = ServicesView {
        services: services.into_iter().map(ServiceView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "nothing is served or called here")?;
    }
    Ok(())
}

fn grid(view: &ServicesView) -> Grid {
    let mut grid = Grid::new(&[
        "pod",
        "direction",
        "name",
        "to",
        "health",
        ">requests",
        ">errors",
        ">in flight",
    ]);
    for one in &view.services {
        let to = match (&one.to, one.instances) {
            (Some(to), _) => to.clone(),
            (None, Some(1)) => "1 instance".to_owned(),
            (None, Some(number)) => format!("{number} instances"),
            (None, None) => or_dash(""),
        };
        grid.row([
            one.pod.clone(),
            one.direction.clone(),
            one.name.clone().unwrap_or_else(|| "(others)".to_owned()),
            to,
            or_dash(one.health.as_deref().unwrap_or("")),
            one.requests.to_string(),
            one.errors.to_string(),
            one.in_flight.to_string(),
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_no_name() {
        let one = EdgeService {
            pod: "pod1/a".into(),
            direction: "out".into(),
            requests: 3,
            ..EdgeService::default()
        };
        let view = ServicesView {
            services: vec![one.into()],
        };
        let text = grid(&view).to_string();
        assert!(text.contains("(others)  0 instances  -"), "{text}");
        assert_eq!(view.services[0].name, None);
    }
}
