//! The claims of a token, typed: one of the wrong type is refused, not ignored.

use std::time::{Duration, SystemTime};

use events::{Topic, TopicPattern};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Grant, LEEWAY, Lists, Refusal};

/// The claims that mean something here; others are passed over. The JWT library checks the values of
/// `iss` and `aud`; here they only must have their type.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: Box<str>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    #[expect(dead_code, reason = "its type is checked here, its value by the JWT library")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[expect(dead_code, reason = "its type is checked here, its value by the JWT library")]
    aud: Option<Audience>,
    #[serde(default)]
    subscribe: Box<[TopicPattern]>,
    #[serde(default)]
    publish: Box<[TopicPattern]>,
    #[serde(default)]
    info: Option<Box<RawValue>>,
    #[serde(default)]
    scopes: Box<[String]>,
}

impl Claims {
    /// Whether a token with these claims is good at this time.
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), Refusal> {
        let is_over = |exp: &NumericDate| exp.0.checked_add(LEEWAY).is_some_and(|end| end < now);
        let is_to_come = |nbf: &NumericDate| now.checked_add(LEEWAY).is_some_and(|now| now < nbf.0);
        if self.exp.as_ref().is_some_and(is_over) {
            Err(Refusal::Expired)
        } else if self.nbf.as_ref().is_some_and(is_to_come) {
            Err(Refusal::NotYet)
        } else {
            Ok(())
        }
    }

    /// What these claims allow.
    pub(super) fn into_grant(self) -> Result<Grant, Refusal> {
        let user_topic = Topic::of_user(&self.sub).map_err(|_| Refusal::Subject)?;
        if self.info.as_ref().is_some_and(|info| !is_showable(info.get())) {
            return Err(Refusal::Claims);
        }
        Ok(Grant {
            user: self.sub.into(),
            user_topic,
            lists: Lists { subscribe: self.subscribe, publish: self.publish, scopes: self.scopes }.into(),
            expires_at: self.exp.map(|exp| exp.0),
            info: self.info,
        })
    }
}

/// Small enough, and not nested deeper than a JSON reader follows: it is sent to every client in presence.
fn is_showable(info: &str) -> bool {
    info.len() <= Grant::INFO_BYTES_MAX && serde_json::from_str::<Value>(info).is_ok()
}

/// A claim that is there must have its type: `null` is not the same as absent, or `"exp": null` would never expire.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// One audience or several (RFC 7519, section 4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    #[expect(dead_code, reason = "its type is checked here, its value by the JWT library")]
    One(String),
    #[expect(dead_code, reason = "its type is checked here, its value by the JWT library")]
    Several(Vec<String>),
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2), from 0 to 2^53 - 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct NumericDate(SystemTime);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const SECONDS_MAX: f64 = 9_007_199_254_740_991.0;
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(D::Error::custom("a date is a number of seconds since 1970"));
        }
        let since_1970 = Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        SystemTime::UNIX_EPOCH
            .checked_add(since_1970)
            .map(Self)
            .ok_or_else(|| D::Error::custom("a date out of range"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(claims: &serde_json::Value) -> Result<Grant, Refusal> {
        serde_json::from_str::<Claims>(&claims.to_string()).map_err(|_| Refusal::Claims)?.into_grant()
    }

    #[test]
    fn every_claim_reaches_the_grant() {
        let grant = grant(&json!({
            "sub": "alice", "exp": 1_800_000_000, "nbf": 1.5, "iss": "idp", "aud": ["a", "b"], "iat": 1, "jti": {},
            "subscribe": ["room:*"], "publish": ["job:1"], "info": {"role": "editor"}, "scopes": ["pii"],
        }))
        .unwrap();
        assert_eq!((&*grant.user, grant.user_topic.as_str()), ("alice", "user:alice"));
        assert_eq!(grant.expires_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        assert_eq!(*grant.lists.subscribe, ["room:*".parse().unwrap()]);
        assert_eq!(*grant.lists.publish, ["job:1".parse().unwrap()]);
        assert_eq!(grant.info.unwrap().get(), "{\"role\":\"editor\"}");
        assert_eq!(*grant.lists.scopes, ["pii"]);
    }

    #[test]
    fn a_claim_of_the_wrong_type_is_refused() {
        for (name, value) in [
            ("sub", json!(7)),
            ("sub", json!(null)),
            ("exp", json!("1800000000")),
            ("exp", json!(null)),
            ("exp", json!(-1)),
            ("exp", json!(1e300)),
            ("exp", json!(true)),
            ("nbf", json!("soon")),
            ("iss", json!(["idp"])),
            ("aud", json!({"a": 1})),
            ("aud", json!([1])),
            ("subscribe", json!("room:*")),
            ("subscribe", json!(["a b"])),
            ("subscribe", json!([7])),
            ("publish", json!({"*": true})),
            ("publish", json!(["a**"])),
            ("publish", json!(null)),
            ("scopes", json!("pii")),
            ("info", json!("x".repeat(Grant::INFO_BYTES_MAX))),
        ] {
            let mut claims = json!({"sub": "alice"});
            claims[name] = value.clone();
            assert_eq!(grant(&claims).err(), Some(Refusal::Claims), "{name}: {value}");
        }
        assert!(serde_json::from_str::<Claims>(r#"{"sub":"a","exp":1,"exp":9999999999}"#).is_err());
    }

    #[test]
    fn the_subject_must_give_a_topic() {
        for claims in
            [json!({}), json!({"sub": ""}), json!({"sub": "a b"}), json!({"sub": "a*"}), json!({"sub": "ä"})]
        {
            assert_eq!(grant(&claims).err(), Some(Refusal::Subject), "{claims}");
        }
        assert_eq!(grant(&json!({"sub": "a".repeat(124)})).err(), Some(Refusal::Subject));
        assert!(grant(&json!({"sub": "a".repeat(123)})).is_ok());
    }
}
