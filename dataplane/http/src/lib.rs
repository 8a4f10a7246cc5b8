//! Names for tonic, hyper and axum: an existing service moves over by changing the lines that connect and listen.
//!
//! A call goes over a stream of the pod's QUIC connection to an instance of the name (crate `dmsc-quic`), behind a preface of four bytes ([`preface`]). It is
//! what edges speak: a program with this library can be called by programs without it, and can call them.
//!
//! A tonic service:
//! ```no_run
//! # use std::sync::Arc;
//! # use dmsc_http::{Listener, channel};
//! # async fn example<S>(endpoint: Arc<dmsc_quic::Endpoint>, server: tonic::transport::server::Router) -> Result<(), Box<dyn std::error::Error>> {
//! // before: GreeterClient::connect("http://10.0.0.7:50051").await?
//! let channel = channel(&endpoint, "dmsc://shop/greeter")?;
//! // let mut client = GreeterClient::new(channel);
//!
//! // before: server.serve("0.0.0.0:50051".parse()?).await?
//! server.serve_with_incoming(Listener::new(&endpoint)).await?;
//! # Ok(())
//! # }
//! ```
//! An axum service, and a call of it:
//! ```no_run
//! # use std::sync::Arc;
//! # use dmsc_http::{Client, Listener, Peer};
//! # async fn example(endpoint: Arc<dmsc_quic::Endpoint>, app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(&endpoint);
//! let request = http::Request::get("/items?of=me").body(String::new())?;
//! let answer = client.send("dmsc://shop/cart/v1", request).await?;
//! println!("{}", answer.status());
//!
//! // before: let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?
//! let listener = Listener::new(&endpoint);
//! axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod answer;
pub mod channel;
pub mod client;
pub mod config;
pub mod connect;
pub mod error;
mod h1;
mod h2;
pub mod host;
pub mod instance;
pub mod instances;
pub mod io;
mod known;
mod lane;
pub mod listener;
pub mod peer;
pub mod preface;
mod redial;
pub mod repeat;
mod replay;
mod upstream;
pub mod uri;

pub use answer::Answer;
pub use channel::{Channel, channel};
pub use client::Client;
pub use config::Config;
pub use connect::{Connect, tonic_channel};
pub use error::HttpError;
pub use host::{host_of_name, name_of_host};
pub use instance::{Chosen, Instance};
pub use instances::Instances;
pub use io::Io;
pub use listener::Listener;
pub use peer::Peer;
pub use uri::{UriError, name_of_uri};
