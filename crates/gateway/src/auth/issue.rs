//! `gateway token`: a token for trying things out, signed with HS256.

use std::time::{Duration, SystemTime};

use events::{Clock, TopicPattern};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::provider;
use crate::config::error::ConfigError;
use crate::secret::Secret;

/// What `gateway token` was asked for.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The `sub` claim.
    pub user: String,
    /// The `subscribe` claim.
    pub subscribe: Vec<TopicPattern>,
    /// The `publish` claim.
    pub publish: Vec<TopicPattern>,
    /// The `scopes` claim.
    pub scopes: Vec<String>,
    /// For how long the token is good; `None`: for ever.
    pub ttl: Option<Duration>,
    /// What signs it.
    pub secret: Secret,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    subscribe: &'a [TopicPattern],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    publish: &'a [TopicPattern],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes: &'a [String],
}

impl TokenRequest {
    /// The token.
    ///
    /// # Errors
    /// When the clock stands before 1970.
    pub fn sign(&self, clock: &Clock) -> Result<String, ConfigError> {
        provider::install();
        let iat = clock
            .system_time()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| ConfigError::new("the clock of this machine stands before 1970"))?
            .as_secs();
        let claims = Claims {
            sub: &self.user,
            iat,
            exp: self.ttl.map(|ttl| iat.saturating_add(ttl.as_secs())),
            subscribe: &self.subscribe,
            publish: &self.publish,
            scopes: &self.scopes,
        };
        let key = EncodingKey::from_secret(self.secret.expose().as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            .map_err(|error| ConfigError::new(format!("the token cannot be signed: {error}")))
    }
}
