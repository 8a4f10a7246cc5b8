//! What the registrar and the supervisor of `static` share: routes, and the pods.

use std::sync::{Arc, PoisonError, RwLock};

use crate::agent::{Agent, AgentError};
use crate::pods::Pods;
use crate::program::difference;
use crate::routes::{Routes, Tables};

/// Shared by all tasks of the process.
#[derive(Debug)]
pub struct State {
    routes: RwLock<Arc<Routes>>,
    /// Leases and the agent.
    pub pods: Arc<Pods>,
}

impl State {
    /// With `routes`, no leases and no dataplane yet.
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self {
            routes: RwLock::new(Arc::new(routes)),
            pods: Arc::default(),
        }
    }

    /// The routes in force.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other routes in force.
    pub fn set_routes(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        self.pods.change();
    }

    /// Connects, compares what the dataplane has with `routes` and the leases, and programs the difference.
    ///
    /// # Errors
    /// When the agent is away or refuses; nothing is changed here then.
    pub async fn reconcile(
        &self,
        agent: Agent,
        before: Option<&Tables>,
    ) -> Result<u64, AgentError> {
        let routes = self.routes();
        let plan =
            async |dump: &_| Ok(difference(&Tables::from_dump(dump), &routes.tables, before));
        let (generation, _) = self.pods.adopt::<AgentError>(agent, plan).await?;
        Ok(generation)
    }

    /// Programs other routes into a connected dataplane, then puts them in force. With the dataplane away they are only put in force.
    ///
    /// # Errors
    /// When the agent refuses or is gone; the routes in force stay.
    pub async fn replace_routes(&self, routes: Routes) -> Result<Option<u64>, AgentError> {
        let mut slot = self.pods.dataplane.lock().await;
        let Some(dataplane) = slot.as_mut() else {
            self.set_routes(routes);
            return Ok(None);
        };
        let dump = dataplane.agent.dump(true).await?;
        let before = self.routes();
        let ops = difference(
            &Tables::from_dump(&dump),
            &routes.tables,
            Some(&before.tables),
        );
        let applied = dataplane.agent.apply(ops).await?;
        self.set_routes(routes);
        Ok(Some(applied.generation.unwrap_or(dump.generation)))
    }
}
