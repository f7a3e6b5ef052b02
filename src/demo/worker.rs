//! A worker of the demo shop: what an application looks like that leaves security to others.
//!
//! It keeps its sessions in its own memory, sends its cookie without any of the three attributes,
//! and keeps the identifier at login. The one thing it does right is that it adopts no identifier
//! that it has not made. Do not build on it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::demo::page::{self, Home};

const COOKIE_NAME: &str = "demo_sid";
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A demo forgets everybody rather than fill the memory.
const SESSIONS_MAX: usize = 10_000;
const CART_ITEMS_MAX: usize = 50;
/// Of what a visitor may choose: a name, an item.
const TEXT_CHARS_MAX: usize = 100;
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running worker. It stops when it is dropped.
#[derive(Debug)]
pub struct Worker {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Worker {
    /// Where it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a worker on the current runtime.
///
/// # Errors
/// The address cannot be bound.
pub async fn spawn_worker(name: &str, address: SocketAddr) -> io::Result<Worker> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let shop = Arc::new(Shop { name: name.to_owned(), sessions: Mutex::default() });
    let task = tokio::spawn(async move {
        // Dropped with this task, and the connections with it.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&shop)))),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(Worker { address, task })
}

async fn serve(stream: TcpStream, shop: Arc<Shop>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shop = Arc::clone(&shop);
        async move {
            let (head, body) = request.into_parts();
            let answer = match Limited::new(body, BODY_BYTES_MAX).collect().await {
                Ok(body) => {
                    let form = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                    shop.answer(&head.method, &head.uri, &head.headers, &form)
                }
                Err(_) => html(StatusCode::PAYLOAD_TOO_LARGE, page::note("Too much", "Too much.")),
            };
            Ok::<_, Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
        }
    });
    // How a visitor's connection ends is of no interest.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The shop, as far as one worker knows it.
struct Shop {
    name: String,
    sessions: Mutex<HashMap<String, Visitor>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Visitor {
    user: Option<String>,
    visits: u64,
    cart: Vec<String>,
}

impl Shop {
    /// The answer to a request; `form` is its body.
    fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        form: &str,
    ) -> Response<String> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match (method.as_str(), uri.path()) {
            ("GET", "/") => self.home(headers),
            ("GET", "/login") => html(StatusCode::OK, page::login(false)),
            ("POST", "/login") => self.login(headers, form),
            ("POST", "/logout") => {
                if let Some(id) = identifier(headers) {
                    self.sessions().remove(&id);
                }
                redirect("/")
            }
            ("GET", "/account/") => match self.visitor(headers).and_then(|visitor| visitor.user) {
                Some(user) => html(StatusCode::OK, page::account(&self.name, &user)),
                None => redirect("/login"),
            },
            ("GET", "/cart") => {
                let cart = self.visitor(headers).unwrap_or_default().cart;
                html(StatusCode::OK, page::cart(&cart))
            }
            ("POST", "/cart/add") => {
                let item = field(uri.query().unwrap_or(""), "item");
                self.change(headers, |visitor| {
                    if visitor.cart.len() < CART_ITEMS_MAX {
                        visitor.cart.extend(item.filter(|item| !item.is_empty()));
                    }
                    redirect("/cart")
                })
            }
            ("GET", "/set-cookies") => odd_cookies(),
            (_, "/" | "/login" | "/logout" | "/account/" | "/cart" | "/cart/add") => html(
                StatusCode::METHOD_NOT_ALLOWED,
                page::note("Not like that", "This page does not take that method."),
            ),
            _ => html(StatusCode::NOT_FOUND, page::note("Not here", "There is no such page.")),
        }
    }

    fn home(&self, headers: &HeaderMap) -> Response<String> {
        let lines: Vec<_> = headers
            .get_all(COOKIE)
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let cookie = (!lines.is_empty()).then(|| lines.join(" | "));
        self.change(headers, |visitor| {
            visitor.visits = visitor.visits.saturating_add(1);
            let home = Home {
                worker: &self.name,
                user: visitor.user.as_deref(),
                visits: visitor.visits,
                cookie: cookie.as_deref(),
            };
            html(StatusCode::OK, page::home(&home))
        })
    }

    fn login(&self, headers: &HeaderMap, form: &str) -> Response<String> {
        let user = field(form, "username").filter(|user| !user.is_empty());
        let password = field(form, "password").unwrap_or_default();
        match user {
            Some(user) if !password.is_empty() && password != "wrong" => {
                self.change(headers, |visitor| {
                    visitor.user = Some(user);
                    redirect("/account/")
                })
            }
            _ => html(StatusCode::UNAUTHORIZED, page::login(true)),
        }
    }

    /// What is known of whoever sent these headers.
    fn visitor(&self, headers: &HeaderMap) -> Option<Visitor> {
        self.sessions().get(&identifier(headers)?).cloned()
    }

    /// Changes the visitor's session. A visitor without a session that is known here gets a new
    /// one; an existing one keeps its identifier, and no cookie is sent.
    fn change(
        &self,
        headers: &HeaderMap,
        change: impl FnOnce(&mut Visitor) -> Response<String>,
    ) -> Response<String> {
        let mut sessions = self.sessions();
        if let Some(visitor) = identifier(headers).and_then(|id| sessions.get_mut(&id)) {
            return change(visitor);
        }
        let Some((id, cookie)) = new_identifier() else {
            return html(
                StatusCode::INTERNAL_SERVER_ERROR,
                page::note("Sorry", "There is no randomness today."),
            );
        };
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        let mut response = change(sessions.entry(id).or_default());
        response.headers_mut().append(SET_COOKIE, cookie);
        response
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Visitor>> {
        // A page that panicked leaves nothing half-written behind.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `demo_sid` of the Cookie lines.
fn identifier(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value.to_owned())
}

/// An identifier and the Set-Cookie line for it.
fn new_identifier() -> Option<(String, HeaderValue)> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).ok()?;
    let id = format!("{:032x}", u128::from_be_bytes(bytes));
    let cookie = HeaderValue::try_from(format!("{COOKIE_NAME}={id}; Path=/")).ok()?;
    Some((id, cookie))
}

/// A field of a query or a form, decoded and cut.
fn field(encoded: &str, name: &str) -> Option<String> {
    let (_, value) = encoded
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(found, _)| *found == name)?;
    let spaced = value.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    Some(decoded.chars().take(TEXT_CHARS_MAX).collect())
}

/// Cookies as applications really send them.
fn odd_cookies() -> Response<String> {
    const LINES: [&str; 8] = [
        "theme=dark",
        "lang=de; path=/; samesite=none",
        "csrfToken=4f1d; Path=/",
        "prefs=\"a b\"; HTTPONLY; Secure;secure; SameSite=Strict",
        "seen=1; Expires=Wed, 09 Jun 2100 10:18:14 GMT; Max-Age=3600; Partitioned",
        "empty=; Path=/",
        "gone=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/",
        "eq=a=b=c; Priority=High; Unknown",
    ];
    let text = format!("{} cookies came with this page.", LINES.len());
    let mut response = html(StatusCode::OK, page::note("Cookies", &text));
    for line in LINES {
        response.headers_mut().append(SET_COOKIE, HeaderValue::from_static(line));
    }
    response
}

fn redirect(location: &'static str) -> Response<String> {
    let mut response = html(StatusCode::FOUND, String::new());
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
    response
}

fn html(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn shop() -> Shop {
        Shop { name: "red".to_owned(), sessions: Mutex::default() }
    }

    fn ask(shop: &Shop, request: &str, sid: Option<&str>, form: &str) -> Response<String> {
        let (method, target) = request.split_once(' ').expect("method and target");
        let mut headers = HeaderMap::new();
        if let Some(sid) = sid {
            let line = format!("theme=dark; {COOKIE_NAME}={sid}");
            headers.insert(COOKIE, HeaderValue::try_from(line).expect("a header value"));
        }
        let method = Method::try_from(method).expect("a method");
        shop.answer(&method, &target.parse().expect("a target"), &headers, form)
    }

    fn set_cookie(response: &Response<String>) -> Option<&str> {
        response.headers().get(SET_COOKIE).map(|line| line.to_str().expect("text"))
    }

    fn location(response: &Response<String>) -> &str {
        response.headers().get(LOCATION).map_or("", |to| to.to_str().expect("text"))
    }

    /// A session's identifier, from a first visit.
    fn arrive(shop: &Shop) -> String {
        let response = ask(shop, "GET /", None, "");
        let line = set_cookie(&response).expect("a first visit makes a session");
        let value = line.strip_prefix("demo_sid=").expect("its cookie");
        value.strip_suffix("; Path=/").expect("none of the three attributes").to_owned()
    }

    #[test]
    fn a_visitor_is_known_again_and_an_unknown_identifier_is_not_adopted() {
        let shop = shop();
        let sid = arrive(&shop);
        let again = ask(&shop, "GET /", Some(&sid), "");
        assert!(again.body().contains("visit 2"), "{}", again.body());
        assert!(again.body().contains(&sid), "the page shows what reached the worker");
        assert_eq!(set_cookie(&again), None);
        let planted = ask(&shop, "GET /", Some("planted"), "");
        assert!(planted.body().contains("visit 1"));
        assert!(!set_cookie(&planted).expect("a new one").contains("planted"));
    }

    #[test]
    fn login_keeps_the_identifier() {
        let shop = shop();
        let sid = arrive(&shop);
        let login = ask(&shop, "POST /login", Some(&sid), "username=alice&password=x%26y");
        assert_eq!((login.status(), location(&login)), (StatusCode::FOUND, "/account/"));
        assert_eq!(set_cookie(&login), None, "the flaw that the demo is about");
        assert!(ask(&shop, "GET /account/", Some(&sid), "").body().contains("<b>alice</b>"));
        let logout = ask(&shop, "POST /logout", Some(&sid), "");
        assert_eq!((logout.status(), location(&logout)), (StatusCode::FOUND, "/"));
        let after = ask(&shop, "GET /account/", Some(&sid), "");
        assert_eq!((after.status(), location(&after)), (StatusCode::FOUND, "/login"));
    }

    #[test]
    fn a_wrong_login_is_401() {
        let shop = shop();
        for form in ["username=alice&password=wrong", "username=alice&password=", "password=x", ""]
        {
            let failed = ask(&shop, "POST /login", None, form);
            assert_eq!(failed.status(), StatusCode::UNAUTHORIZED, "{form}");
            assert_eq!(set_cookie(&failed), None, "{form}");
        }
    }

    #[test]
    fn the_cart_is_kept_in_the_session() {
        let shop = shop();
        let added = ask(&shop, "POST /cart/add?item=red+hat%3C", None, "");
        assert_eq!(location(&added), "/cart");
        let line = set_cookie(&added).expect("a session for the cart");
        let sid = line["demo_sid=".len()..].split(';').next().expect("a value");
        let cart = ask(&shop, "GET /cart", Some(sid), "");
        assert!(cart.body().contains("<li>red hat&lt;</li>"), "{}", cart.body());
        assert!(ask(&shop, "GET /cart", None, "").body().contains("It is empty."));
    }

    #[test]
    fn pages_answer_by_method() {
        for (request, status) in [
            ("HEAD /", 200),
            ("GET /login", 200),
            ("GET /set-cookies", 200),
            ("PUT /", 405),
            ("GET /logout", 405),
            ("GET /nowhere", 404),
        ] {
            assert_eq!(ask(&shop(), request, None, "").status(), status, "{request}");
        }
        let odd = ask(&shop(), "GET /set-cookies", None, "");
        assert_eq!(odd.headers().get_all(SET_COOKIE).iter().count(), 8);
    }

    #[tokio::test]
    async fn serves_over_a_socket_until_it_is_dropped() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let worker = spawn_worker("blue", any).await.expect("bound");
        let mut stream = TcpStream::connect(worker.address()).await.expect("connected");
        let request = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\
                       Connection: close\r\n\r\nusername=alice&password=open";
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
        assert!(answer.contains("location: /account/\r\n"), "{answer}");

        let mut idle = TcpStream::connect(worker.address()).await.expect("connected");
        drop(worker);
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed with the worker");
    }
}
