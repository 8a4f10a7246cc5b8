//! What gateways tell of the services that live with them, as it comes, and as it is taken.

use dmsc_proto::v1;
use dmsc_scsc::{Health, ServiceState};
use dmsc_wire::{Domain, NameBuf};
use tonic::Status;

use super::service::{MAX_DELAY, MAX_PREFIXES};

/// One service at the gateway that tells it, checked.
#[derive(Debug)]
pub struct Told {
    /// Tenant.
    pub domain: Domain,
    /// Of the service.
    pub prefix: NameBuf,
    /// How it is.
    pub state: ServiceState,
}

/// Checks what stands in one second's telemetry.
///
/// # Errors
/// What no gateway of this version tells: the first mistake, by its place.
pub(super) fn told(services: &[v1::ServiceState]) -> Result<Vec<Told>, Status> {
    if services.len() > MAX_PREFIXES {
        return Err(Status::invalid_argument(format!(
            "telemetry: more than {MAX_PREFIXES} services in one second"
        )));
    }
    let each = services.iter().enumerate();
    each.map(|(index, one)| told_at(index, one)).collect()
}

fn told_at(index: usize, one: &v1::ServiceState) -> Result<Told, Status> {
    let wrong = |what: String| Status::invalid_argument(format!("services[{index}]: {what}"));
    let prefix = NameBuf::from_bytes(&one.name).map_err(|error| wrong(error.to_string()))?;
    if one.domain == 0 {
        return Err(wrong("domain 0".to_owned()));
    }
    let health = match one.health {
        0 => Health::Healthy,
        1 => Health::Draining,
        2 => Health::Overloaded,
        other => return Err(wrong(format!("health {other}: 0 to 2"))),
    };
    if one.healthy > one.instances {
        return Err(wrong(format!(
            "healthy {} of {} instances",
            one.healthy, one.instances
        )));
    }
    if one.delay.len() > MAX_DELAY {
        return Err(wrong(format!("delay: more than {MAX_DELAY} bytes")));
    }
    let delay = ServiceState::delay_from(&one.delay);
    Ok(Told {
        domain: Domain(one.domain),
        prefix,
        state: ServiceState {
            health,
            load_permille: one.load_permille,
            instances: one.instances,
            healthy: one.healthy,
            delay: delay.ok_or_else(|| wrong("delay: no histogram".to_owned()))?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_gateway_tells_is_refused_with_its_place() {
        let good = v1::ServiceState {
            domain: 1,
            name: NameBuf::parse("/shop").unwrap().as_bytes().to_vec(),
            health: 2,
            load_permille: 1_100,
            instances: 2,
            healthy: 0,
            delay: Vec::new(),
        };
        let taken = told(std::slice::from_ref(&good)).unwrap();
        assert_eq!(taken[0].state.health, Health::Overloaded);
        let wrong = |change: fn(&mut v1::ServiceState)| {
            let mut one = good.clone();
            change(&mut one);
            let status = told(&[good.clone(), one]).unwrap_err();
            assert!(status.message().starts_with("services[1]: "), "{status}");
        };
        wrong(|one| one.domain = 0);
        wrong(|one| one.name = vec![1]);
        wrong(|one| one.health = 3);
        wrong(|one| one.healthy = 3);
        wrong(|one| one.delay = vec![9; MAX_DELAY + 1]);
        wrong(|one| one.delay = vec![0, 1, 0]);
        assert!(told(&vec![good.clone(); MAX_PREFIXES + 1]).is_err());
    }
}
