//! Access: tokens become [`Grant`]s, publish keys are compared.
//!
//! # Layout
//! * [`Authenticator`] (here): a token to a grant, by the keys that are known now.
//! * `keys.rs`: keys, each with its one algorithm. `jwks.rs`: a key set that is read again.
//! * `claims.rs`: typed claims. `grant.rs`, `lists.rs`: what they allow.
//! * `credential.rs`: where a request carries its token.
//! * `remembered.rs`: tokens that were verified a moment ago.
//! * `provider.rs`: `ring` as the JWT library's cryptography. `issue.rs`: `gateway token`.
//!
//! # How long a verified token is remembered
//! For 60 seconds at most, never past its end, and only while the key set is the one that verified it. So a token
//! whose key was taken out of a key set is refused as soon as the set has been read again.

mod claims;
mod credential;
mod grant;
mod issue;
mod jwks;
mod keys;
mod lists;
mod provider;
mod publish_key;
mod refusal;
mod remembered;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use claims::Claims;
use events::{BoxFuture, Chance, Clock};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use jwks::{Jwks, Pace};
use keys::VerifyingKey;
use lists::Lately;
use publish_key::PublishKeys;
use remembered::{Remembered, TokenId};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use credential::{Credential, Source};
pub use events::TopicPattern;
pub use grant::{Grant, LEEWAY};
pub use issue::TokenRequest;
pub use jwks::JwksSource;
pub use lists::Lists;
pub use refusal::{Refusal, TOKEN_BYTES_MAX};

use crate::config::error::ConfigError;
use crate::current::Current;
use crate::secret::Secret;

/// The keys, and the claims that tokens must have.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Secrets of HS256 tokens: each is good, so that one may follow another.
    pub jwt_secrets: Vec<Secret>,
    /// The files that hold these secrets, if any does.
    pub jwt_secret_files: Vec<PathBuf>,
    /// PEM file with a public key for RS256, ES256 or EdDSA.
    pub jwt_public_key: Option<PathBuf>,
    /// Key set that is read again.
    pub jwks: Option<JwksSource>,
    /// `iss` that every token must have.
    pub issuer: Option<String>,
    /// `aud` that every token must have, alone or among others.
    pub audience: Option<String>,
    /// Keys with which backends may publish.
    pub publish_keys: Vec<Secret>,
    /// Whether `user=NAME` stands in for a token (`gateway dev` alone).
    pub user_parameter: bool,
}

impl AuthConfig {
    /// Whether any key verifies tokens.
    #[must_use]
    pub fn verifies_tokens(&self) -> bool {
        !self.jwt_secrets.is_empty() || self.jwt_public_key.is_some() || self.jwks.is_some()
    }

    /// The files that hold keys.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let set = match &self.jwks {
            Some(JwksSource::File(path)) => Some(path),
            _ => None,
        };
        self.jwt_secret_files.iter().chain(&self.jwt_public_key).chain(set).map(PathBuf::as_path)
    }

    /// The problems of files with keys, each as one line: a gateway with them would not start.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigError> {
        let pem = self.jwt_public_key.as_deref().and_then(|path| VerifyingKey::from_pem_file(path).err());
        let set = self.jwks.as_ref().and_then(|source| Jwks::check(source).err());
        pem.into_iter().chain(set).collect()
    }
}

/// Verifies tokens and publish keys.
#[derive(Debug)]
pub struct Authenticator {
    trusted: Current<Trusted>,
    /// Other keys took the place of those before.
    replaced: Notify,
    user_parameter: bool,
    pace: Pace,
    clock: Clock,
    chance: Chance,
    remembered: Remembered,
    lately: Lately,
}

/// The keys and required claims of one configuration.
#[derive(Debug)]
pub struct Trusted {
    keys: Vec<VerifyingKey>,
    jwks: Option<(JwksSource, Arc<Jwks>)>,
    /// The set of before, which counts until `jwks` has been read.
    former: Option<Arc<Jwks>>,
    issuer: Option<String>,
    audience: Option<String>,
    publish_keys: PublishKeys,
    /// How many configurations there were before.
    generation: u32,
}

impl Trusted {
    /// Reads the keys. A key set behind a URL that `before` has too is taken over as it is, and one
    /// in a file is read again.
    fn read(
        config: &AuthConfig,
        pace: Pace,
        chance: &Chance,
        before: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let mut keys = Vec::new();
        for secret in &config.jwt_secrets {
            if secret.expose().len() < 32 && !config.user_parameter {
                tracing::warn!(
                    "the JWT secret is shorter than 32 bytes and may be guessed (RFC 7518, section 3.2)"
                );
            }
            keys.push(VerifyingKey::from_secret(secret));
        }
        if let Some(path) = &config.jwt_public_key {
            keys.push(VerifyingKey::from_pem_file(path)?);
        }
        let known = before.and_then(|before| before.jwks.as_ref());
        let jwks = match &config.jwks {
            Some(source) => Some(match known.filter(|(known, _)| known == source && !source.is_file()) {
                Some(known) => known.clone(),
                None => (source.clone(), Arc::new(Jwks::open(source, pace, chance.clone())?)),
            }),
            None => None,
        };
        let former = before.and_then(Self::read_jwks).filter(|_| jwks.is_some()).cloned();
        Ok(Self {
            keys,
            jwks,
            former,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            publish_keys: PublishKeys::new(&config.publish_keys, chance)?,
            generation: before.map_or(0, |before| before.generation.wrapping_add(1)),
        })
    }

    fn jwks(&self) -> Option<&Arc<Jwks>> {
        self.jwks.as_ref().map(|(_, jwks)| jwks)
    }

    /// The key set that counts: the newest that has been read.
    fn read_jwks(&self) -> Option<&Arc<Jwks>> {
        let newest = self.jwks().filter(|jwks| jwks.was_read());
        newest.or(self.former.as_ref())
    }

    /// The version of all keys: it rises with each configuration and each change of its key set.
    fn version(&self) -> u64 {
        // A set that was read has a version of its own above 0, also if the former counted until then.
        let set = self.jwks().map_or(0, |jwks| jwks.version() + u64::from(jwks.was_read()));
        (u64::from(self.generation) << 32) + set
    }
}

impl Authenticator {
    /// Reads the keys. A key set is read again only while [`Authenticator::read_key_set`] runs.
    ///
    /// # Errors
    /// When a file cannot be read or holds no usable key, as one line. A key set behind a URL may come later.
    pub fn new(config: &AuthConfig, clock: Clock, chance: Chance) -> Result<Self, ConfigError> {
        Self::at_pace(config, Pace::default(), clock, chance)
    }

    fn at_pace(config: &AuthConfig, pace: Pace, clock: Clock, chance: Chance) -> Result<Self, ConfigError> {
        provider::install();
        Ok(Self {
            trusted: Current::new(Trusted::read(config, pace, &chance, None)?),
            replaced: Notify::new(),
            user_parameter: config.user_parameter,
            pace,
            clock,
            chance,
            remembered: Remembered::new(),
            lately: Lately::new(),
        })
    }

    /// Reads the keys of another configuration, which [`Authenticator::take_over`] puts in force.
    ///
    /// # Errors
    /// As for [`Authenticator::new`].
    pub fn prepare(&self, config: &AuthConfig) -> Result<Trusted, ConfigError> {
        Trusted::read(config, self.pace, &self.chance, Some(&self.trusted.get()))
    }

    /// Verifies by these keys from now on. Sessions stay until their tokens end.
    pub fn take_over(&self, trusted: Trusted) {
        self.trusted.set(trusted);
        self.replaced.notify_one();
    }

    /// Reads the key set again and again, if there is one, and never ends. Called once.
    pub async fn read_key_set(&self) {
        let mut reading: Option<(Arc<Jwks>, BoxFuture<'static, ()>)> = None;
        loop {
            let now = self.trusted.get().jwks().cloned();
            let is_read = match (&reading, &now) {
                (Some((read, _)), Some(now)) => Arc::ptr_eq(read, now),
                (None, None) => true,
                _ => false,
            };
            if !is_read {
                reading = now.and_then(|jwks| {
                    let reader = jwks.take_reader()?;
                    Some((jwks, Box::pin(reader) as BoxFuture<'static, ()>))
                });
            }
            match &mut reading {
                Some((_, reader)) => tokio::select! {
                    () = reader => {}
                    () = self.replaced.notified() => {}
                },
                None => self.replaced.notified().await,
            }
        }
    }

    /// The grant of a token.
    ///
    /// Waits only when the token's key is not in the key set: then the set is read again, for 6 seconds at most. Where it
    /// cannot be read, or was read a moment ago, the refusal is [`Refusal::KeysUnread`].
    ///
    /// # Errors
    /// The reason for which the token is not good.
    pub async fn verify(&self, token: &str) -> Result<Arc<Grant>, Refusal> {
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let id = TokenId::of(token);
        if let Some(grant) = self.remembered.get(id, self.trusted.get().version()) {
            return if grant.has_ended(self.clock.system_time()) { Err(Refusal::Expired) } else { Ok(grant) };
        }
        let (grant, version) = self.verify_anew(token).await?;
        let grant = Arc::new(Grant { lists: self.lately.share(Arc::clone(&grant.lists)), ..grant });
        self.remembered.insert(id, &grant, version);
        Ok(grant)
    }

    /// The grant of the query parameter `user=NAME`, which stands in for a token in `gateway dev` alone.
    ///
    /// # Errors
    /// [`Refusal::Missing`] outside `gateway dev`; [`Refusal::Subject`] when the name gives no topic.
    pub fn grant_of_user_parameter(&self, user: &str) -> Result<Arc<Grant>, Refusal> {
        if !self.user_parameter {
            return Err(Refusal::Missing);
        }
        Grant::of_developer(user).map(Arc::new).map_err(|_| Refusal::Subject)
    }

    /// Whether this is a publish key. Takes the same time whatever is presented.
    #[must_use]
    pub fn publish_key(&self, presented: &str) -> bool {
        self.trusted.get().publish_keys.contains(presented)
    }

    /// Whether every configured key is known: `false` while a key set was never read.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        let trusted = self.trusted.get();
        trusted.jwks().is_none() || trusted.read_jwks().is_some()
    }

    /// Forgets what was verified too long ago.
    pub fn sweep(&self) {
        self.remembered.sweep();
    }

    async fn verify_anew(&self, token: &str) -> Result<(Grant, u64), Refusal> {
        let came = Instant::now();
        let header = read_header(token)?;
        let trusted = self.trusted.get();
        let Some(jwks) = trusted.jwks() else {
            return self.verify_now(&trusted, token, &header).map_err(|(refusal, _)| refusal);
        };
        match self.verify_now(&trusted, token, &header) {
            Err((_, true)) => {}
            outcome => return outcome.map_err(|(refusal, _)| refusal),
        }
        let read = jwks.read_after(came).await;
        // A reading that began before the token came may still have brought its key.
        self.verify_now(&trusted, token, &header).map_err(|(refusal, key_is_absent)| match read {
            Err(retry_after) if key_is_absent => Refusal::KeysUnread { retry_after },
            _ => refusal,
        })
    }

    /// Verifies by the keys that are known now. With the refusal comes whether a newer key set may change it.
    fn verify_now(
        &self,
        trusted: &Trusted,
        token: &str,
        header: &Header,
    ) -> Result<(Grant, u64), (Refusal, bool)> {
        let version = trusted.version();
        let set = trusted.read_jwks().map_or_else(|| Arc::from([]), |jwks| jwks.keys().0);
        let named = |key: &VerifyingKey| match (&key.id, &header.kid) {
            (Some(id), Some(wanted)) => id == wanted,
            _ => true,
        };
        let by_name: Vec<&VerifyingKey> =
            trusted.keys.iter().chain(set.iter()).filter(|key| named(key)).collect();
        let key_is_absent = trusted.jwks().is_some_and(|jwks| jwks.may_verify(header.alg))
            && match &header.kid {
                Some(wanted) => !set.iter().any(|key| key.id.as_ref() == Some(wanted)),
                // Keys without names replace each other unseen.
                None => true,
            };
        let is_named = header.kid.is_some() || set.is_empty();
        let mut refusal = if by_name.is_empty() || (key_is_absent && is_named) {
            Refusal::KeyUnknown
        } else {
            Refusal::Algorithm
        };
        for key in by_name.into_iter().filter(|key| key.algorithm == header.alg) {
            match self.verify_by(trusted, token, key) {
                Err(Refusal::Signature) => refusal = Refusal::Signature,
                Err(other) => return Err((other, false)),
                Ok(grant) => return Ok((grant, version)),
            }
        }
        Err((refusal, key_is_absent))
    }

    fn verify_by(&self, trusted: &Trusted, token: &str, key: &VerifyingKey) -> Result<Grant, Refusal> {
        let mut validation = Validation::new(key.algorithm);
        // The library asks the system for the time; the claims are checked by the gateway's clock.
        validation.validate_exp = false;
        let mut required = HashSet::new();
        if let Some(issuer) = &trusted.issuer {
            validation.set_issuer(&[issuer]);
            required.insert("iss".to_owned());
        }
        match &trusted.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        validation.required_spec_claims = required;
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| refusal_of(error.kind()))?.claims;
        claims.check_time(self.clock.system_time())?;
        claims.into_grant()
    }
}

/// The header, if its algorithm is one of the four and it asks for nothing that is not known.
fn read_header(token: &str) -> Result<Header, Refusal> {
    const ACCEPTED: [Algorithm; 4] = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // `none` and every other name that the library does not have.
        ErrorKind::Json(error) if error.to_string().starts_with("unknown variant") => Refusal::Algorithm,
        _ => Refusal::Malformed,
    })?;
    if header.crit.is_some() {
        return Err(Refusal::Malformed);
    }
    if ACCEPTED.contains(&header.alg) { Ok(header) } else { Err(Refusal::Algorithm) }
}

fn refusal_of(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Refusal::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Refusal::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Refusal::Algorithm,
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => Refusal::Claims,
        _ => Refusal::Malformed,
    }
}

#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod tests;
