//! An axum service and a client over names.
//!
//! ```text
//! cart --gateway 10.1.4.1 --identity pod4/cart --credentials /etc/dmsc/pods/cart --name dmsc://shop/cart serve
//! cart --gateway 10.1.1.1 --identity pod1/web --credentials /etc/dmsc/pods/web --name dmsc://shop/cart call --item tea --item milk
//! ```

mod shared;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::ensure;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use dmsc_http::{Client, Listener, Peer};
use dmsc_quic::Endpoint;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};

use shared::Cli;

/// Items that a cart takes.
const ROOM: usize = 1_000;

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep a cart: GET /items, POST /items {"item": "tea"}
    Serve,
    /// Put items into it, and list them
    Call {
        /// What to put into it
        #[arg(long = "item", value_name = "ITEM", default_value = "tea")]
        items: Vec<String>,
    },
}

/// One thing in the cart.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Item {
    item: String,
    /// Who put it there.
    #[serde(default)]
    by: String,
}

type Cart = Arc<Mutex<VecDeque<Item>>>;

fn main() -> anyhow::Result<()> {
    let cli = Cli::<Command>::parse();
    shared::block_on(async {
        match cli.command {
            Command::Serve => {
                let endpoint = cli.pod.endpoint(true).await?;
                serve(&endpoint, shared::leave(&endpoint)).await
            }
            Command::Call { items } => {
                let endpoint = cli.pod.endpoint(false).await?;
                call(&endpoint, cli.pod.uri()?, items).await
            }
        }
    })
}

/// Keeps a cart until it is to leave.
pub async fn serve(
    endpoint: &Arc<Endpoint>,
    leave: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/items", get(list).post(add))
        .with_state(Cart::default())
        .into_make_service_with_connect_info::<Peer>();
    // Over TCP this line is `tokio::net::TcpListener::bind("0.0.0.0:8080").await?`.
    let listener = Listener::new(endpoint);
    shared::tell(endpoint);
    axum::serve(listener, app)
        .with_graceful_shutdown(leave)
        .await?;
    endpoint.close().await;
    Ok(())
}

async fn list(State(cart): State<Cart>) -> Json<Vec<Item>> {
    let cart = cart.lock().unwrap_or_else(PoisonError::into_inner);
    Json(cart.iter().cloned().collect())
}

async fn add(
    State(cart): State<Cart>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(mut item): Json<Item>,
) -> StatusCode {
    item.by = peer.identity.to_string();
    let mut cart = cart.lock().unwrap_or_else(PoisonError::into_inner);
    if cart.len() == ROOM {
        cart.pop_front();
    }
    cart.push_back(item);
    StatusCode::CREATED
}

/// Puts items into the cart and lists it.
pub async fn call(endpoint: &Arc<Endpoint>, uri: &str, items: Vec<String>) -> anyhow::Result<()> {
    let client = Client::new(endpoint);
    for item in items {
        let body = serde_json::json!({ "item": item }).to_string();
        let request = Request::post("/items")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        // With a client over TCP: "http://10.0.0.7:8080/items".
        let answer = client.send(uri, request).await?;
        ensure!(
            answer.status() == StatusCode::CREATED,
            "{}",
            answer.status()
        );
    }
    let request = Request::get("/items").body(Full::<Bytes>::default())?;
    let answer = client.send(uri, request).await?;
    let list = answer.into_body().collect().await?.to_bytes();
    for Item { item, by } in serde_json::from_slice::<Vec<Item>>(&list)? {
        println!("{item}, by {by}");
    }
    endpoint.close().await;
    Ok(())
}
