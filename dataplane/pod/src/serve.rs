//! Requests that a pod is to answer, and the handler that does.

use std::future::Future;
use std::pin::Pin;

use dmsc_wire::{AttachmentId, Class, FlowLabel, NameBuf, NodeId};

/// A request for one of the pod's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name that was called: a served prefix or below one.
    pub name: NameBuf,
    /// What the caller said.
    pub payload: Vec<u8>,
    /// The caller's name; its gateway checked that the caller owns it.
    pub source_name: NameBuf,
    /// The caller's gateway.
    pub source_gateway: NodeId,
    /// The caller's attachment there.
    pub source_attachment: AttachmentId,
    /// The caller's flow.
    pub flow_label: FlowLabel,
    /// Traffic class.
    pub class: Class,
    /// Whether it was placed a second time on its way.
    pub rebound: bool,
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;
pub(crate) type Handler = Box<dyn Fn(Request) -> Answering + Send + Sync>;

/// Turns any async function into a handler.
pub(crate) fn handler<H, F>(handle: H) -> Handler
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Vec<u8>> + Send + 'static,
{
    Box::new(move |request| Box::pin(handle(request)))
}
