//! Which endpoint a request is for, and everything that must hold before it gets there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use transport::{Answer, Framing, Request, Transport};

use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::{Credential, Grant, Source};
use crate::endpoints::{backend, explain, page, send, websocket};
use crate::http::origin;
use crate::http::problem::{Code, Problem};
use crate::metrics::labels::{AuthFailure, RefuseReason, Route};
use crate::publish::Publisher;
use crate::session::admission::{self, Admitted, Asked, Plan, Query};
use crate::telemetry::RequestLine;

/// The body of every ordinary response.
pub(crate) type Body = Full<Bytes>;

/// What answers a request.
pub(crate) type Reply = Answer<Body, Plan>;

/// Which of the gateway's listeners a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The only one: clients and backends.
    Both,
    /// Clients, where backends have a listener of their own.
    Clients,
    /// Backends and Prometheus.
    Backends,
}

/// A request whose head has been read.
pub(crate) struct Call<'a> {
    /// The gateway.
    pub app: &'a Arc<App>,
    /// Who is at the other end of the connection.
    pub peer: SocketAddr,
    /// The head.
    pub head: &'a Parts,
    /// The query, decoded.
    pub query: Query<'a>,
    /// How its body is delimited.
    pub framing: Framing,
}

/// The most bytes of a posted poll.
const FORM_BYTES_MAX: usize = 16 << 10;

/// Answers one request.
pub(crate) async fn answer(
    app: Arc<App>,
    door: Door,
    peer: SocketAddr,
    request: HttpRequest<Incoming>,
    framing: Framing,
) -> Reply {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let route = route_of(head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).collect();
    let call = Call { app: &app, peer, head: &head, query, framing };
    let is_stream = matches!(route, Route::Ws | Route::Sse | Route::Poll) && head.method == Method::GET;
    // A stream takes the connection as it is, and would leave a body there to be read as the next request.
    let has_stray_body = is_stream && !body.is_end_stream();
    let checked = match check_head(&app, &head, framing) {
        Ok(()) if has_stray_body => Err(Problem::bad_request("a GET for a stream has no body")),
        checked => checked,
    };
    // Whoever sends such a head, or a proxy that let it pass, is not asked for another on this connection.
    let is_last = checked.is_err() || framing != Framing::Plain;
    let result = match checked {
        Ok(()) => call.dispatch(door, route, body).await,
        Err(problem) => Err(problem),
    };
    let mut response = match result {
        Ok(Answer::Detach(plan)) => {
            if let Some(status) = plan.status_now() {
                app.metrics.request(route, status, started.elapsed().as_secs_f64());
            }
            return Answer::Detach(plan);
        }
        Ok(Answer::Response(response)) => response,
        Err(problem) => problem.response(),
    };
    app.origins.add_cors(peer, &head.headers, response.headers_mut());
    if is_last || app.is_draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status();
    app.metrics.request(route, status.as_u16(), started.elapsed().as_secs_f64());
    tracing::debug!(request = %RequestLine::new(&head.method, &head.uri), status = status.as_u16(), "answered");
    Answer::Response(response)
}

/// What no endpoint wants: heads that two readers could understand differently.
fn check_head(app: &App, head: &Parts, framing: Framing) -> Result<(), Problem> {
    if let Framing::Ambiguous(why) = framing {
        return Err(Problem::bad_request(why));
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(Problem::bad_request("exactly one Host header is needed"));
    }
    if app.config.dev && !origin::is_for_loopback(&head.headers) {
        return Err(Problem::new(
            Code::Forbidden,
            "gateway dev answers only to localhost and loopback addresses",
        ));
    }
    Ok(())
}

fn route_of(path: &str) -> Route {
    match path {
        "/v1/ws" => Route::Ws,
        "/v1/sse" => Route::Sse,
        "/v1/poll" => Route::Poll,
        "/v1/send" => Route::Send,
        "/v1/history" => Route::History,
        "/v1/presence" => Route::Presence,
        "/v1/publish" => Route::Publish,
        "/v1/disconnect" => Route::Disconnect,
        "/v1/stats" => Route::Stats,
        "/v1/explain" => Route::Explain,
        "/health" => Route::Health,
        "/ready" => Route::Ready,
        "/metrics" => Route::Metrics,
        path if page::has(path) => Route::Page,
        _ => Route::Other,
    }
}

impl Door {
    /// Whether the endpoint is behind this door.
    fn leads_to(self, route: Route) -> bool {
        let backend = matches!(
            route,
            Route::Publish | Route::Disconnect | Route::Stats | Route::Explain | Route::Metrics
        );
        match self {
            Self::Both => true,
            Self::Clients => !backend,
            Self::Backends => backend || matches!(route, Route::Health | Route::Ready | Route::History),
        }
    }
}

impl Call<'_> {
    async fn dispatch(&self, door: Door, route: Route, body: Incoming) -> Result<Reply, Problem> {
        if !door.leads_to(route) {
            return Err(self.not_found());
        }
        if self.head.method == Method::OPTIONS && self.head.headers.contains_key(ORIGIN) {
            return Ok(Answer::Response(self.preflight()));
        }
        let method = match (&self.head.method, route) {
            // hyper leaves the body out. A stream has no length to tell, and a poll would wait for nothing.
            (&Method::HEAD, Route::History | Route::Stats | Route::Explain) => &Method::GET,
            (&Method::HEAD, Route::Health | Route::Ready) => &Method::GET,
            (&Method::HEAD, Route::Metrics | Route::Page) => &Method::GET,
            (method, _) => method,
        };
        match (route, method) {
            (Route::Ws, &Method::GET) => websocket::websocket(self).await,
            (Route::Sse, &Method::GET) => self.stream(Transport::Sse, &self.query).await,
            (Route::Poll, &Method::GET) => self.stream(Transport::Poll, &self.query).await,
            (Route::Poll, &Method::POST) => self.posted_poll(body).await,
            (Route::Send, &Method::POST) => {
                let grant = send::authorise(self).await?;
                let body = self.collect(body).await?;
                send::send(self, grant, &body).await.map(Answer::Response)
            }
            (Route::History, &Method::GET) => backend::history(self).await.map(Answer::Response),
            (Route::Presence, &Method::GET) => backend::presence(self).await.map(Answer::Response),
            (Route::Publish, &Method::POST) => {
                let publisher = self.publisher().await?;
                let body = self.collect(body).await?;
                backend::publish(self, &publisher, body).await.map(Answer::Response)
            }
            (Route::Disconnect, &Method::POST) => {
                self.operator().await?;
                let body = self.collect(body).await?;
                backend::disconnect(self, &body).await.map(Answer::Response)
            }
            (Route::Stats, &Method::GET) => {
                self.operator().await?;
                backend::stats(self).await.map(Answer::Response)
            }
            (Route::Explain, &Method::GET) => {
                self.operator().await?;
                explain::explain(self).map(Answer::Response)
            }
            (Route::Health, &Method::GET) => backend::health(self).map(Answer::Response),
            (Route::Ready, &Method::GET) => backend::ready(self).map(Answer::Response),
            (Route::Metrics, &Method::GET) => Ok(Answer::Response(backend::metrics(self))),
            (Route::Page, &Method::GET) if self.app.config.dev => {
                page::file(self.head.uri.path()).map(Answer::Response).ok_or_else(|| self.not_found())
            }
            (Route::Other | Route::Page, _) => Err(self.not_found()),
            (Route::Poll, _) => Ok(self.method_not_allowed("GET, POST")),
            (Route::Send | Route::Publish | Route::Disconnect, _) => Ok(self.method_not_allowed("POST")),
            _ => Ok(self.method_not_allowed("GET")),
        }
    }

    fn not_found(&self) -> Problem {
        Problem::new(Code::NotFound, "no such endpoint")
    }

    fn method_not_allowed(&self, allow: &'static str) -> Reply {
        let mut response = Problem::new(Code::MethodNotAllowed, format!("allowed here: {allow}")).response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        Answer::Response(response)
    }

    fn preflight(&self) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = self.app.origins.preflight(self.peer, &self.head.headers);
        response
    }

    /// Reads a body within its limits of size and time.
    async fn collect(&self, body: Incoming) -> Result<Bytes, Problem> {
        self.collect_within(body, self.app.config.limits.body_bytes_max).await
    }

    async fn collect_within(&self, body: Incoming, bytes_max: usize) -> Result<Bytes, Problem> {
        let limits = &self.app.config.limits;
        let too_large = || Problem::new(Code::TooLarge, format!("the body has more than {bytes_max} bytes"));
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large());
        }
        let collected = Limited::new(body, bytes_max).collect();
        match tokio::time::timeout(limits.body_timeout, collected).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::bad_request("the body ended before it was complete")),
            Err(_) => Err(Problem::bad_request("the body took too long")),
        }
    }

    /// Who publishes: the bearer of a publish key or of a token.
    pub(crate) async fn publisher(&self) -> Result<Publisher, Problem> {
        let Some(credential) = self.bearer() else {
            self.app.metrics.auth_failed(AuthFailure::Missing);
            return Err(Problem::new(Code::Unauthenticated, "a publish key or a token is needed as bearer"));
        };
        if self.app.auth.publish_key(credential.token()) {
            return Ok(Publisher::Key);
        }
        let grant = self.app.auth.verify(credential.token()).await.map_err(|refusal| {
            self.app.metrics.auth_failed(AuthFailure::PublishKey);
            audit::record(Deed::KeyRefused, "", self.address(), refusal.reason());
            Problem::new(Code::Unauthenticated, "neither a publish key nor a valid token")
        })?;
        Ok(Publisher::Grant(grant, self.address()))
    }

    /// A parameter of the query; the last counts.
    pub(crate) fn parameter(&self, wanted: &str) -> Option<&str> {
        self.query.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| &**value)
    }

    /// The token in the `Authorization` header: backends have no cookies.
    pub(crate) fn bearer(&self) -> Option<Credential> {
        Credential::find::<&str, &str>(&self.head.headers, &[])
            .filter(|found| found.source() == Source::Header)
    }

    /// What the request's token allows.
    pub(crate) async fn grant(&self, query: &Query<'_>) -> Result<Arc<Grant>, Problem> {
        let grant = admission::grant_of(self.app, &self.head.headers, query).await;
        Ok(grant.inspect_err(|refusal| self.audit_token(refusal.reason()))?)
    }

    /// Refuses a foreign page whose visitor's cookie would authenticate the request.
    pub(crate) fn check_origin(&self, query: &Query<'_>) -> Result<(), Problem> {
        let found = Credential::find(&self.head.headers, query);
        let by_cookie = found.as_ref().is_some_and(|found| found.source() == Source::Cookie);
        // In `gateway dev` a name is enough, and any page can put one into a URL.
        let by_name = found.is_none() && self.app.config.dev && query.iter().any(|(name, _)| name == "user");
        Ok(self
            .app
            .origins
            .check_request(self.peer, &self.head.headers, by_cookie || by_name)
            .inspect_err(|_| self.foreign())?)
    }

    /// Lets only those pass who may act on the whole deployment.
    async fn operator(&self) -> Result<(), Problem> {
        if self.publisher().await?.may_administer() {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "a publish key, or a token that may publish *, is needed"))
    }

    /// A stream or a poll: from here on the connection is no longer hyper's.
    async fn stream(&self, transport: Transport, query: &Query<'_>) -> Result<Reply, Problem> {
        let asked = self.asked(transport, query)?;
        self.check_origin(query)?;
        let grant = self.grant(query).await.inspect_err(|_| {
            self.app.metrics.connection_refused(RefuseReason::Unauthenticated);
        })?;
        let admitted: Admitted = admission::admit(self.app, asked, grant).await?;
        Ok(Answer::Detach(Plan::Session(Box::new(admitted))))
    }

    /// A poll whose parameters may be in the body, for clients that keep them out of URLs.
    async fn posted_poll(&self, body: Incoming) -> Result<Reply, Problem> {
        let is_form = self.has_content_type("application/x-www-form-urlencoded");
        // Nobody is authenticated yet, so no more is taken in than a head may have.
        let body = self.collect_within(body, FORM_BYTES_MAX).await?;
        let mut query: Query<'_> = self.query.clone();
        if is_form {
            query.extend(form_urlencoded::parse(&body));
        } else if !body.is_empty() {
            return Err(Problem::bad_request("the body of a poll is application/x-www-form-urlencoded"));
        }
        self.stream(Transport::Poll, &query).await
    }

    /// What a request for a stream wants.
    pub(crate) fn asked(&self, transport: Transport, query: &Query<'_>) -> Result<Asked, Problem> {
        let parameters = query.iter().map(|(name, value)| (&**name, &**value));
        let parsed = Request::parse(parameters).and_then(|mut request| {
            if transport == Transport::Sse
                && let Some(id) = self.head.headers.get("last-event-id")
            {
                request.resume_from(id.to_str().map_err(|_| transport::RequestError::After)?)?;
            }
            Ok(request)
        });
        let request =
            parsed.inspect_err(|_| self.app.metrics.connection_refused(RefuseReason::BadRequest))?;
        Ok(Asked {
            transport,
            request,
            address: self.address(),
            headers: self.cors_lines(),
            is_http11: self.head.version == Version::HTTP_11,
            keep_alive: self.is_keep_alive() && self.framing == Framing::Plain,
        })
    }

    pub(crate) fn foreign(&self) {
        self.app.metrics.connection_refused(RefuseReason::Origin);
        audit::record(Deed::OriginRefused, "", self.address(), "foreign origin");
    }

    pub(crate) fn audit_token(&self, reason: &str) {
        audit::record(Deed::TokenRefused, "", self.address(), reason);
    }

    /// The client's address, proxies seen through.
    pub(crate) fn address(&self) -> IpAddr {
        self.app.config.trusted_proxies.client_address(self.peer, &self.head.headers)
    }

    /// The CORS headers as lines, for the heads that the gateway writes itself.
    pub(crate) fn cors_lines(&self) -> Box<str> {
        let mut headers = HeaderMap::new();
        self.app.origins.add_cors(self.peer, &self.head.headers, &mut headers);
        let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
            value.to_str().map(|value| format!("{name}: {value}\r\n")).unwrap_or_default()
        };
        headers.iter().map(line).collect::<String>().into()
    }

    /// Whether the body is of this media type, whatever its parameters.
    pub(crate) fn has_content_type(&self, wanted: &str) -> bool {
        let value = self.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = value.and_then(|value| value.split(';').next());
        kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
    }

    /// Whether the client wants to use the connection again (RFC 9112 section 9.3).
    fn is_keep_alive(&self) -> bool {
        let has = |wanted| websocket::has_token(&self.head.headers, CONNECTION, wanted);
        if self.head.version == Version::HTTP_11 { !has("close") } else { has("keep-alive") }
    }
}

/// A JSON answer that no cache keeps.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    json_bytes(serde_json::to_vec(value).unwrap_or_default())
}

/// The same for JSON that is text already.
pub(crate) fn json_bytes(bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The time now, as clients read it.
pub(crate) fn timestamp() -> String {
    crate::time::rfc3339(SystemTime::now())
}
