//! HTTP connections, each over one stream: what HTTP/1.1 and HTTP/2 have in common here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use dmsc_pod::Pin;
use dmsc_quic::{Connection, Connector, QuicError};
use dmsc_wire::NameBuf;

use crate::error::HttpError;
use crate::io::{Broken, Fate, Io};
use crate::preface;
use crate::repeat::is_not_processed;

/// A stream to an instance, its preface sent.
///
/// # Errors
/// Nobody can be reached: nothing was sent.
pub(crate) async fn open(
    connector: &Connector,
    name: &NameBuf,
    place: Option<Pin>,
) -> Result<Io, QuicError> {
    let connection = match place {
        Some(place) => connector.connect_to(name, place).await?,
        None => connector.connect(name).await?,
    };
    let stream = preface::begin(&connection, name).await?;
    Ok(Io::new(stream, None))
}

/// What is known of the stream under an HTTP connection.
#[derive(Debug, Clone)]
pub(crate) struct Under {
    connection: Connection,
    fate: Fate,
    /// Whether a program has answered on it: from then on, refusals of the stream say nothing of its calls.
    answered: Arc<AtomicBool>,
}

impl Under {
    pub fn of(io: &Io) -> Self {
        Self {
            connection: io.connection().clone(),
            fate: io.fate(),
            answered: Arc::default(),
        }
    }

    /// Where it leads.
    pub fn instance(&self) -> Option<Pin> {
        self.connection.instance()
    }

    /// Whether new calls can be made on it, as far as is known.
    pub fn is_open(&self) -> bool {
        self.connection.is_open() && self.fate.get().is_none()
    }

    /// Whether its QUIC connection takes no more calls: it is lost, or the other end drains it.
    pub fn is_lost(&self) -> bool {
        !self.connection.is_open()
    }

    /// No new calls on its QUIC connection: whoever is dialled next may be another.
    pub async fn retire(&self) {
        // At this end it is only noted; that it may be over already is as good.
        let _ = self.connection.drain().await;
    }

    /// A program answered a call after so long.
    pub fn answered(&self, after: Duration) {
        self.answered.store(true, Relaxed);
        self.connection.answered(after);
    }

    /// What it means for a call that HTTP failed with `source`; `unsent`: HTTP had not begun to send it.
    pub fn failure(&self, name: &NameBuf, unsent: bool, source: hyper::Error) -> HttpError {
        let (name, instance) = (name.clone(), self.instance());
        if let Some(code) = self.fate.nothing_given()
            && !self.answered.load(Relaxed)
        {
            return HttpError::Refused {
                name,
                instance,
                code,
            };
        }
        if unsent || is_not_processed(&source) {
            return HttpError::NotTaken {
                name,
                instance,
                source,
            };
        }
        // The nearest cause says most: why this end gave the connection up, or what the other said.
        let why = match (self.connection.ended(), self.fate.get()) {
            (Some(ended), _) => ended.to_string(),
            (None, Some(Broken::Off(code))) => code.to_string(),
            (None, Some(Broken::Lost(why))) => why.clone(),
            (None, None) => describe(&source),
        };
        HttpError::Lost {
            name,
            instance,
            why,
            source,
        }
    }
}

/// An error with its causes, which hyper's own text leaves out.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
