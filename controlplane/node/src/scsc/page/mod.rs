//! A page for people: what a scheduling center sees and does, drawn anew every second. One file that needs nothing from anywhere else.
//!
//! Whoever reaches the address may look, and can do nothing else; so it is on loopback unless somebody wants it otherwise. Names and reasons come from the
//! network: the page writes them as text only, and its policy lets no other script run. [`state`] is what it is told.

pub mod state;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dmsc_daemon::http as small;
use dmsc_daemon::http::Answer;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::state::Center;
use crate::operator::listen::{ListenError, bind};

/// Browsers open some connections ahead of time.
const READERS: usize = 64;
/// However many look, the center is asked this often.
const FRESH: Duration = Duration::from_millis(500);

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const PAGE: &str = concat!(
    include_str!("head.html"),
    "<style>",
    include_str!("page.css"),
    "</style>\n",
    include_str!("body.html"),
    "<script>",
    include_str!("page.js"),
    "</script>\n</html>\n"
);

/// Listens at once, then answers until the task ends.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve(
    address: SocketAddr,
    center: Arc<Center>,
) -> Result<(SocketAddr, JoinHandle<()>), ListenError> {
    let listener = bind("page", address).await?;
    let address = listener.local_addr().unwrap_or(address);
    if !address.ip().is_loopback() {
        warn!(%address, "everybody who reaches this address may look at the page");
    }
    info!(url = format!("http://{address}/"), "page ready");
    let page = Arc::new(Page::new(center));
    let answers = move |request: Request<()>| {
        let page = Arc::clone(&page);
        async move { page.answer(&request).await }
    };
    Ok((
        address,
        tokio::spawn(small::serve(listener, READERS, answers)),
    ))
}

struct Page {
    center: Arc<Center>,
    policy: HeaderValue,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Page {
    fn new(center: Arc<Center>) -> Self {
        let hash = |text: &str| STANDARD.encode(dmsc_spa::statement::sha256(text.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        // Base 64 and words: always a header's value.
        let policy = HeaderValue::from_str(&policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        Self {
            center,
            policy,
            last: Mutex::new(None),
        }
    }

    async fn answer(&self, request: &Request<()>) -> Answer {
        let plain = |status, sentence: &'static str| {
            small::text(status, "text/plain; charset=utf-8", sentence)
        };
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let mut answer = if !host.is_some_and(is_address) {
            let sentence = "open this page by its address, such as http://127.0.0.1:9468/: a name may be somebody else's who wants to read it\n";
            plain(StatusCode::MISDIRECTED_REQUEST, sentence)
        } else {
            match request.uri().path() {
                "/" => small::text(StatusCode::OK, "text/html; charset=utf-8", PAGE),
                "/state.json" => {
                    let state = self.state().await;
                    small::text(StatusCode::OK, "application/json", state)
                }
                _ => plain(StatusCode::NOT_FOUND, "there are / and /state.json\n"),
            }
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (CROSS_ORIGIN, "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    /// Made once for all who look at about the same time.
    async fn state(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((at, body)) = &*last
            && at.elapsed() < FRESH
        {
            return body.clone();
        }
        let center = Arc::clone(&self.center);
        // With very many pairs it takes a while to find the worst.
        let made = tokio::task::spawn_blocking(move || {
            serde_json::to_vec(&state::State::of(&center)).unwrap_or_default()
        });
        let body = Bytes::from(made.await.unwrap_or_default());
        *last = Some((Instant::now(), body.clone()));
        body
    }
}

const CROSS_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Whether a Host header names an address: a page of another name, which was made to lead here, is not to read this one.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || bare.unwrap_or(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses() {
        for good in [
            "127.0.0.1:9468",
            "127.0.0.1",
            "[::1]:9468",
            "[::1]",
            "localhost:1",
            "10.1.2.3:80",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "evil.example:9468",
            "evil.example",
            "127.0.0.1.evil.example:9468",
            "localhost.evil.example",
            "",
            ":9468",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(!PAGE.contains("http://") || PAGE.matches("http://").count() == 1);
        assert!(PAGE.contains("http://www.w3.org/2000/svg"));
        for word in ["https://", "innerHTML", "eval(", " src=", "onclick"] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }
}
