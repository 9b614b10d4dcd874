//! Finds the endpoint of a request, and checks the request before it gets there.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{ALLOW, CONNECTION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Request as HttpRequest, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use transport::{Answer, Framing, Transport};

use crate::app::App;
use crate::endpoints::call::{Call, Reply};
use crate::endpoints::{
    disconnect, explain, health, history, leave, metrics, page, presence, publish, reload, send, state,
    stats, stream, websocket,
};
use crate::http::answer::Body;
use crate::http::door::Door;
use crate::http::origin;
use crate::loggable::RequestLine;
use crate::metrics::labels::Route;
use crate::problem::{Code, Problem};
use crate::socketio;

/// Answers one request.
pub(crate) async fn answer(
    app: Arc<App>,
    door: Door,
    peer: SocketAddr,
    request: HttpRequest<Incoming>,
    framing: Framing,
) -> Reply {
    let started = app.log.clock().now();
    let (head, body) = request.into_parts();
    let route = route_of(&app, head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).collect();
    let call = Call { app: &app, peer, head: &head, query, framing };
    let is_stream =
        matches!(route, Route::Ws | Route::Sse | Route::Poll | Route::SocketIo) && head.method == Method::GET;
    // A stream takes the connection as it is, so a body would be read as the next request.
    let has_stray_body = is_stream && !body.is_end_stream();
    let checked = match check_head(&app, &head, framing) {
        Ok(()) if has_stray_body => Err(Problem::bad_request("a GET for a stream has no body")),
        checked => checked,
    };
    // The sender of such a head, or the proxy that let it pass, may send no further request here.
    let is_last = checked.is_err() || framing != Framing::Plain;
    let result = match checked {
        Ok(()) => dispatch(&call, door, route, body).await,
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

/// Refuses heads that two HTTP readers could understand differently.
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

fn route_of(app: &App, path: &str) -> Route {
    match path {
        "/v1/ws" => Route::Ws,
        "/v1/sse" => Route::Sse,
        "/v1/poll" => Route::Poll,
        "/v1/send" => Route::Send,
        "/v1/leave" => Route::Leave,
        "/v1/history" => Route::History,
        "/v1/state" => Route::State,
        "/v1/presence" => Route::Presence,
        "/v1/publish" => Route::Publish,
        "/v1/disconnect" => Route::Disconnect,
        "/v1/reload" => Route::Reload,
        "/v1/stats" => Route::Stats,
        "/v1/explain" => Route::Explain,
        "/health" => Route::Health,
        "/ready" => Route::Ready,
        "/metrics" => Route::Metrics,
        path if app.config.socketio.as_ref().is_some_and(|config| config.is_at(path)) => Route::SocketIo,
        path if page::has(path) => Route::Page,
        _ => Route::Other,
    }
}

/// Hands the request to its endpoint.
async fn dispatch(call: &Call<'_>, door: Door, route: Route, body: Incoming) -> Result<Reply, Problem> {
    if !door.leads_to(route) {
        return Err(not_found());
    }
    if call.head.method == Method::OPTIONS && call.head.headers.contains_key(ORIGIN) {
        return Ok(Answer::Response(preflight(call)));
    }
    let method = match (&call.head.method, route) {
        // hyper leaves the body out. A stream has no length, and a poll would wait in vain.
        (&Method::HEAD, Route::History | Route::State | Route::Presence) => &Method::GET,
        (&Method::HEAD, Route::Stats | Route::Explain) => &Method::GET,
        (&Method::HEAD, Route::Health | Route::Ready) => &Method::GET,
        (&Method::HEAD, Route::Metrics | Route::Page) => &Method::GET,
        (method, _) => method,
    };
    let response = match (route, method) {
        (Route::Ws, &Method::GET) => return websocket::answer(call).await,
        (Route::Sse, &Method::GET) => return stream::answer_sse(call).await,
        (Route::Poll, &Method::GET) => return stream::answer(call, Transport::Poll, &call.query).await,
        (Route::Poll, &Method::POST) => return stream::answer_posted_poll(call, body).await,
        (Route::SocketIo, _) => {
            let config = call.app.config.socketio.as_ref().ok_or_else(not_found)?;
            return socketio::answer(call, config, body).await;
        }
        (Route::Send, &Method::POST) => send::answer(call, body).await?,
        (Route::Leave, &Method::POST) => leave::answer(call, body).await?,
        (Route::History, &Method::GET) => history::answer(call).await?,
        (Route::State, &Method::GET) => state::answer(call).await?,
        (Route::Presence, &Method::GET) => presence::answer(call).await?,
        (Route::Publish, &Method::POST) => publish::answer(call, body).await?,
        (Route::Disconnect, &Method::POST) => disconnect::answer(call, body).await?,
        (Route::Reload, &Method::POST) => reload::answer(call).await?,
        (Route::Stats, &Method::GET) => stats::answer(call).await?,
        (Route::Explain, &Method::GET) => explain::answer(call).await?,
        (Route::Health, &Method::GET) => health::answer(call),
        (Route::Ready, &Method::GET) => health::answer_ready(call)?,
        (Route::Metrics, &Method::GET) => metrics::answer(call),
        (Route::Page, &Method::GET) if call.app.config.dev => {
            page::answer(call.head.uri.path()).ok_or_else(not_found)?
        }
        (Route::Other | Route::Page, _) => return Err(not_found()),
        (Route::Poll, _) => method_not_allowed("GET, POST"),
        (Route::Send | Route::Leave | Route::Publish | Route::Disconnect | Route::Reload, _) => {
            method_not_allowed("POST")
        }
        _ => method_not_allowed("GET"),
    };
    Ok(Answer::Response(response))
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "no such endpoint")
}

fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = Problem::new(Code::MethodNotAllowed, format!("allowed here: {allow}")).response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn preflight(call: &Call<'_>) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = call.app.origins.preflight(call.peer, &call.head.headers);
    response
}
