//! A request whose head has been read, as its endpoint uses it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use transport::{Answer, Framing};

use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::{Credential, Grant, Refusal, Source};
use crate::http::Query;
use crate::http::answer::Body;
use crate::metrics::labels::{AuthFailure, RefuseReason};
use crate::problem::{Code, Problem};
use crate::publish::Author;
use crate::session::admission::{self, Plan, RefusedClient};

/// The answer to a request.
pub(crate) type Reply = Answer<Body, Plan>;

/// A request whose head has been read.
pub(crate) struct Call<'a> {
    /// The gateway.
    pub app: &'a Arc<App>,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The head.
    pub head: &'a Parts,
    /// The query, decoded.
    pub query: Query<'a>,
    /// How its body is delimited.
    pub framing: Framing,
}

impl Call<'_> {
    /// Reads a body within its limits of size and time.
    pub(crate) async fn collect(&self, body: Incoming) -> Result<Bytes, Problem> {
        self.collect_within(body, self.app.limits().body_bytes_max).await
    }

    /// Reads a body of at most `bytes_max` bytes, within the limit of time.
    pub(crate) async fn collect_within(&self, body: Incoming, bytes_max: usize) -> Result<Bytes, Problem> {
        let limits = self.app.limits();
        let too_large = || Problem::new(Code::TooLarge, format!("the body has more than {bytes_max} bytes"));
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large());
        }
        let collected = Limited::new(body, bytes_max).collect();
        match tokio::time::timeout(limits.body_timeout, collected).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::bad_request("the body ended before it was complete")),
            Err(_) => Err(Problem::new(Code::RequestTimeout, "the body took too long")),
        }
    }

    /// The author of drafts: the bearer of a publish key or of a token.
    pub(crate) async fn author(&self) -> Result<Author, Problem> {
        let Some(credential) = self.bearer() else {
            self.app.metrics.auth_failed(AuthFailure::Missing);
            return Err(Problem::new(Code::Unauthenticated, "a publish key or a token is needed as bearer"));
        };
        if self.app.auth.publish_key(credential.token()) {
            return Ok(Author::Key);
        }
        let grant = self.app.auth.verify(credential.token()).await.map_err(|refusal| {
            if !refusal.is_final() {
                self.app.metrics.auth_failed(refusal.into());
                return refusal.into();
            }
            self.app.metrics.auth_failed(AuthFailure::PublishKey);
            audit::record(Deed::KeyRefused, "", self.address(), refusal.reason());
            Problem::bad_token("neither a publish key nor a valid token")
        })?;
        Ok(Author::Grant(grant, self.address()))
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

    /// The grant of the request's token.
    pub(crate) async fn grant(&self, query: &Query<'_>) -> Result<Arc<Grant>, Problem> {
        let grant = admission::grant_of(&self.app.auth, &self.app.metrics, &self.head.headers, query).await;
        Ok(grant.inspect_err(|refusal| self.audit_token(*refusal))?)
    }

    /// Refuses a foreign page whose visitor's cookie would authenticate the request.
    pub(crate) fn check_origin(&self, query: &Query<'_>) -> Result<(), Problem> {
        let found = Credential::find(&self.head.headers, query);
        let by_cookie = found.as_ref().is_some_and(|found| found.source() == Source::Cookie);
        // In `gateway dev` the name of a user is enough, and any page can put one into a URL.
        let by_name = found.is_none() && self.app.config.dev && query.iter().any(|(name, _)| name == "user");
        let checked = self.app.origins.check(self.peer, &self.head.headers, by_cookie || by_name);
        Ok(checked.inspect_err(|_| self.foreign())?)
    }

    /// The client as one that is not let in, before its user is known.
    pub(crate) fn refused(&self, problem: Problem) -> RefusedClient {
        RefusedClient { problem, address: self.address(), user: None }
    }

    /// Refuses all but operators, who may act on the whole deployment.
    pub(crate) async fn operator(&self) -> Result<(), Problem> {
        if self.author().await?.may_administer() {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "a publish key, or a token that may publish *, is needed"))
    }

    fn foreign(&self) {
        self.app.metrics.connection_refused(RefuseReason::Origin);
        audit::record(Deed::OriginRefused, "", self.address(), "foreign origin");
    }

    pub(crate) fn audit_token(&self, refusal: Refusal) {
        if refusal.is_final() {
            audit::record(Deed::TokenRefused, "", self.address(), refusal.reason());
        }
    }

    /// The client's address, behind trusted proxies.
    pub(crate) fn address(&self) -> IpAddr {
        self.app.config.trusted_proxies.client_address(self.peer, &self.head.headers)
    }

    /// The CORS headers as lines, for the heads that the gateway writes itself.
    pub(crate) fn cors_lines(&self) -> Box<str> {
        let mut headers = HeaderMap::new();
        self.app.origins.add_cors(self.peer, &self.head.headers, &mut headers);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            value.to_str().map(|value| format!("{name}: {value}\r\n")).unwrap_or_default()
        };
        headers.iter().map(line).collect::<String>().into()
    }
}
