//! Tokens against an authenticator: good ones, and every kind of bad one.

use std::sync::Arc;
use std::time::Duration;

use events::SimulatedClock;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::{Signer, header, key_file, seconds_from_now, token, token_of_texts};
use super::*;

pub(super) const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

pub(super) fn with_secret() -> AuthConfig {
    AuthConfig { jwt_secrets: vec![Secret::new(str::from_utf8(SECRET).unwrap())], ..AuthConfig::default() }
}

fn with_public_key(file: &str) -> AuthConfig {
    AuthConfig { jwt_public_key: Some(key_file(file)), ..AuthConfig::default() }
}

fn with_key_set_file() -> AuthConfig {
    AuthConfig { jwks: Some(JwksSource::File(key_file("jwks.json"))), ..AuthConfig::default() }
}

pub(super) fn named(algorithm: &str, id: &str) -> Value {
    json!({"alg": algorithm, "kid": id})
}

async fn outcome(config: &AuthConfig, token: &str) -> Result<String, Refusal> {
    let grant = Authenticator::new(config, Clock::system(), Chance::system()).unwrap().verify(token).await?;
    Ok(grant.user.to_string())
}

/// The outcome for a token with these claims, signed with the secret.
async fn of_claims(config: &AuthConfig, claims: Value) -> Result<String, Refusal> {
    outcome(config, &token(&header("HS256"), &claims, Signer::Secret(SECRET))).await
}

#[tokio::test]
async fn each_algorithm_is_verified_by_its_key() {
    let claims = json!({"sub": "alice"});
    for (config, algorithm, signer) in [
        (with_secret(), "HS256", Signer::Secret(SECRET)),
        (with_public_key("rsa-public.pem"), "RS256", Signer::Rsa),
        (with_public_key("ec-public.pem"), "ES256", Signer::Ec),
        (with_public_key("ed25519-public.pem"), "EdDSA", Signer::Ed),
    ] {
        let good = token(&header(algorithm), &claims, signer);
        assert_eq!(outcome(&config, &good).await.as_deref(), Ok("alice"), "{algorithm}");

        let (message, signature) = good.rsplit_once('.').unwrap();
        let (head, _) = message.split_once('.').unwrap();
        let other = token(&header(algorithm), &json!({"sub": "mallory"}), signer);
        let other = other.split('.').nth(1).unwrap();
        let forged = format!("{head}.{other}.{signature}");
        assert_eq!(outcome(&config, &forged).await, Err(Refusal::Signature), "{algorithm}");
    }
}

#[tokio::test]
async fn a_key_set_verifies_by_name_and_without() {
    let claims = json!({"sub": "alice"});
    for (algorithm, id, signer) in
        [("RS256", "rsa-1", Signer::Rsa), ("ES256", "ec-1", Signer::Ec), ("EdDSA", "ed-1", Signer::Ed)]
    {
        for head in [named(algorithm, id), header(algorithm)] {
            let good = token(&head, &claims, signer);
            assert_eq!(outcome(&with_key_set_file(), &good).await.as_deref(), Ok("alice"), "{head}");
        }
        let stranger = token(&named(algorithm, "other"), &claims, signer);
        // The set was read before the token came, so it is no proof.
        let refused = outcome(&with_key_set_file(), &stranger).await;
        assert!(matches!(refused, Err(Refusal::KeysUnread { .. })), "{algorithm}: {refused:?}");
    }
    let another = token(&named("ES256", "rsa-1"), &claims, Signer::Ec);
    assert_eq!(outcome(&with_key_set_file(), &another).await, Err(Refusal::Algorithm));
}

#[tokio::test]
async fn a_key_that_was_given_alone_answers_to_any_name() {
    let good = token(&named("HS256", "whatever"), &json!({"sub": "alice"}), Signer::Secret(SECRET));
    assert_eq!(outcome(&with_secret(), &good).await.as_deref(), Ok("alice"));
    let both = AuthConfig { jwks: with_key_set_file().jwks, ..with_secret() };
    assert_eq!(outcome(&both, &good).await.as_deref(), Ok("alice"));
    let by_set = token(&named("RS256", "rsa-1"), &json!({"sub": "alice"}), Signer::Rsa);
    assert_eq!(outcome(&both, &by_set).await.as_deref(), Ok("alice"));
}

#[tokio::test]
async fn no_signature_is_never_enough() {
    let claims = json!({"sub": "alice", "publish": ["*"]});
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        for config in [with_secret(), with_public_key("rsa-public.pem"), with_key_set_file()] {
            let bare = token(&header(algorithm), &claims, Signer::Nothing);
            assert_eq!(outcome(&config, &bare).await, Err(Refusal::Algorithm), "{algorithm}");
        }
    }
    let stripped = token(&header("HS256"), &claims, Signer::Nothing);
    assert_eq!(outcome(&with_secret(), &stripped).await, Err(Refusal::Signature));
}

#[tokio::test]
async fn a_public_key_is_never_a_secret() {
    let claims = json!({"sub": "alice", "publish": ["*"]});
    for file in ["rsa-public.pem", "ec-public.pem", "ed25519-public.pem"] {
        let pem = std::fs::read(key_file(file)).unwrap();
        let trimmed = pem.trim_ascii_end();
        for bytes in [&pem[..], trimmed] {
            let confused = token(&header("HS256"), &claims, Signer::Secret(bytes));
            assert_eq!(outcome(&with_public_key(file), &confused).await, Err(Refusal::Algorithm), "{file}");
        }
    }
    let set: Value = serde_json::from_slice(&std::fs::read(key_file("jwks.json")).unwrap()).unwrap();
    for (index, member) in [(0, "n"), (1, "x"), (2, "x")] {
        let key = &set["keys"][index];
        let secret = key[member].as_str().unwrap().as_bytes();
        let confused = token(&named("HS256", key["kid"].as_str().unwrap()), &claims, Signer::Secret(secret));
        assert_eq!(outcome(&with_key_set_file(), &confused).await, Err(Refusal::Algorithm));
    }
}

#[tokio::test]
async fn a_key_verifies_its_own_algorithm_only() {
    let claims = json!({"sub": "alice"});
    for (config, algorithm, signer) in [
        (with_secret(), "RS256", Signer::Secret(SECRET)),
        (with_secret(), "RS256", Signer::Rsa),
        (with_secret(), "HS384", Signer::Secret(SECRET)),
        (with_secret(), "HS512", Signer::Secret(SECRET)),
        (with_public_key("rsa-public.pem"), "RS384", Signer::Rsa),
        (with_public_key("rsa-public.pem"), "PS256", Signer::Rsa),
        (with_public_key("rsa-public.pem"), "ES256", Signer::Ec),
        (with_public_key("ec-public.pem"), "ES384", Signer::Ec),
        (with_public_key("ec-public.pem"), "EdDSA", Signer::Ed),
    ] {
        let strange = token(&header(algorithm), &claims, signer);
        assert_eq!(outcome(&config, &strange).await, Err(Refusal::Algorithm), "{algorithm}");
    }
}

#[tokio::test]
async fn a_key_in_the_token_itself_is_not_used() {
    let set: Value = serde_json::from_slice(&std::fs::read(key_file("jwks.json")).unwrap()).unwrap();
    let head = json!({"alg": "RS256", "jwk": set["keys"][0], "jku": "http://127.0.0.1:9/jwks.json"});
    let own = token(&head, &json!({"sub": "alice"}), Signer::Rsa);
    assert_eq!(outcome(&with_secret(), &own).await, Err(Refusal::Algorithm));
}

#[tokio::test]
async fn time_is_checked_with_five_seconds_of_leeway() {
    let config = with_secret();
    for (claim, from_now, expected) in [
        ("exp", 60, Ok("alice")),
        ("exp", -2, Ok("alice")),
        ("exp", -8, Err(Refusal::Expired)),
        ("exp", -100_000, Err(Refusal::Expired)),
        ("nbf", -60, Ok("alice")),
        ("nbf", 2, Ok("alice")),
        ("nbf", 8, Err(Refusal::NotYet)),
        ("nbf", 100_000, Err(Refusal::NotYet)),
    ] {
        let outcome = of_claims(&config, json!({"sub": "alice", claim: seconds_from_now(from_now)})).await;
        assert_eq!(outcome.as_deref().map_err(|refusal| *refusal), expected, "{claim} {from_now}");
    }
    assert_eq!(of_claims(&config, json!({"sub": "alice"})).await.as_deref(), Ok("alice"));
    for wrong in [json!("9999999999"), json!(null), json!([1]), json!(-1)] {
        let outcome = of_claims(&config, json!({"sub": "alice", "exp": wrong})).await;
        assert_eq!(outcome, Err(Refusal::Claims), "{wrong}");
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_when_configured() {
    let config = AuthConfig {
        issuer: Some("https://idp.example".to_owned()),
        audience: Some("throughline".to_owned()),
        ..with_secret()
    };
    for (claims, expected) in [
        (json!({"sub": "alice", "iss": "https://idp.example", "aud": "throughline"}), Ok("alice")),
        (json!({"sub": "alice", "iss": "https://idp.example", "aud": ["a", "throughline"]}), Ok("alice")),
        (json!({"sub": "alice", "iss": "https://idp.example", "aud": "a"}), Err(Refusal::Audience)),
        (json!({"sub": "alice", "iss": "https://idp.example", "aud": []}), Err(Refusal::Audience)),
        (json!({"sub": "alice", "iss": "https://idp.example"}), Err(Refusal::Audience)),
        (
            json!({"sub": "alice", "iss": "https://idp.example.evil", "aud": "throughline"}),
            Err(Refusal::Issuer),
        ),
        (json!({"sub": "alice", "aud": "throughline"}), Err(Refusal::Issuer)),
    ] {
        let outcome = of_claims(&config, claims.clone()).await;
        assert_eq!(outcome.as_deref().map_err(|refusal| *refusal), expected, "{claims}");
    }
    let unasked = json!({"sub": "alice", "iss": "anyone", "aud": "anything"});
    assert_eq!(of_claims(&with_secret(), unasked).await.as_deref(), Ok("alice"));
}

#[tokio::test]
async fn a_subject_without_a_topic_is_refused() {
    for subject in ["", "a b", "a*", "a,b", "ä", "a\n", &"a".repeat(124)] {
        assert_eq!(
            of_claims(&with_secret(), json!({"sub": subject})).await,
            Err(Refusal::Subject),
            "{subject:?}"
        );
    }
    assert_eq!(of_claims(&with_secret(), json!({})).await, Err(Refusal::Subject));
}

#[tokio::test]
async fn what_is_no_token_is_malformed() {
    let config = with_secret();
    assert_eq!(outcome(&config, "").await, Err(Refusal::Missing));
    let good = token(&header("HS256"), &json!({"sub": "alice"}), Signer::Secret(SECRET));
    let critical = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let critical = token(&critical, &json!({"sub": "alice"}), Signer::Secret(SECRET));
    let bad =
        ["a", "a.b", "..", "a.b.c", "a.b.c.d", "é.é.é", &format!("{good}.x"), &format!(" {good}"), &critical];
    for text in bad {
        assert_eq!(outcome(&config, text).await, Err(Refusal::Malformed), "{text:.40}");
    }
    for text in [format!("{good}="), format!("{good} "), good[..good.len() - 1].to_owned()] {
        assert!(outcome(&config, &text).await.is_err(), "{text:.40}");
    }
}

#[tokio::test]
async fn a_token_that_is_too_long_is_told_so() {
    let padded = |bytes| {
        let claims = json!({"sub": "alice", "x": "x".repeat(bytes)});
        token(&header("HS256"), &claims, Signer::Secret(SECRET))
    };
    // Three bytes are four characters.
    let short = (0..)
        .map(|n| padded(TOKEN_BYTES_MAX / 4 * 3 - 200 + n))
        .take_while(|token| token.len() <= TOKEN_BYTES_MAX);
    let longest = short.last().unwrap();
    assert_eq!(outcome(&with_secret(), &longest).await.as_deref(), Ok("alice"), "{} bytes", longest.len());
    assert_eq!(outcome(&with_secret(), &padded(TOKEN_BYTES_MAX)).await, Err(Refusal::TooLong));
    assert_eq!(Refusal::TooLong.to_string(), "the token has more than 8192 bytes");
}

#[tokio::test]
async fn claims_nested_deep_are_refused() {
    let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for (claims, expected) in [
        (format!("{{\"sub\":\"alice\",\"info\":{}}}", nested(10)), Ok("alice")),
        (format!("{{\"sub\":\"alice\",\"info\":{}}}", nested(500)), Err(Refusal::Claims)),
        (format!("{{\"sub\":\"alice\",\"subscribe\":{}}}", nested(2500)), Err(Refusal::Claims)),
        (format!("{{\"sub\":\"alice\",\"exp\":{}}}", nested(2500)), Err(Refusal::Claims)),
    ] {
        let text = token_of_texts("{\"alg\":\"HS256\"}", &claims, Signer::Secret(SECRET));
        let outcome = outcome(&with_secret(), &text).await;
        assert_eq!(outcome.as_deref().map_err(|refusal| *refusal), expected, "{claims:.40}");
    }
}

#[tokio::test]
async fn what_gateway_token_prints_is_accepted() {
    let request = TokenRequest {
        scopes: Vec::new(),
        user: "alice".to_owned(),
        subscribe: vec!["room:*".parse().unwrap(), "job:7".parse().unwrap()],
        publish: vec!["room:1".parse().unwrap()],
        ttl: Some(Duration::from_secs(60)),
        secret: Secret::new(str::from_utf8(SECRET).unwrap()),
    };
    let authenticator = Authenticator::new(&with_secret(), Clock::system(), Chance::system()).unwrap();
    let grant = authenticator.verify(&request.sign(&Clock::system()).unwrap()).await.unwrap();
    assert_eq!(
        (&*grant.user, &*grant.lists.subscribe, &*grant.lists.publish),
        (&*request.user, &*request.subscribe, &*request.publish)
    );
    let left = grant.expires_at.unwrap().duration_since(Clock::system().system_time()).unwrap();
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");

    let forever = TokenRequest { ttl: None, ..request };
    assert_eq!(
        authenticator.verify(&forever.sign(&Clock::system()).unwrap()).await.unwrap().expires_at,
        None
    );
    let stranger = TokenRequest { secret: Secret::new("another"), ..forever };
    assert_eq!(
        authenticator.verify(&stranger.sign(&Clock::system()).unwrap()).await.err(),
        Some(Refusal::Signature)
    );
}

#[tokio::test]
async fn a_token_ends_by_the_gateways_clock_remembered_or_not() {
    let time = SimulatedClock::new(1_900_000_000_000);
    let authenticator = Authenticator::new(&with_secret(), time.clock(), Chance::seeded(1)).unwrap();
    let token = |claims| token(&header("HS256"), &claims, Signer::Secret(SECRET));
    let ending = token(json!({"sub": "alice", "exp": 1_900_000_060}));
    let coming = token(json!({"sub": "alice", "nbf": 1_900_000_060}));
    let first = authenticator.verify(&ending).await.unwrap();
    assert!(Arc::ptr_eq(&first, &authenticator.verify(&ending).await.unwrap()));
    assert_eq!(authenticator.verify(&coming).await.err(), Some(Refusal::NotYet));
    time.jump(65_000);
    assert!(authenticator.verify(&ending).await.is_ok(), "five seconds of leeway");
    assert!(authenticator.verify(&coming).await.is_ok());
    time.jump(1);
    assert_eq!(authenticator.verify(&ending).await.err(), Some(Refusal::Expired));
    let another = token(json!({"sub": "bob", "exp": 1_900_000_060}));
    assert_eq!(authenticator.verify(&another).await.err(), Some(Refusal::Expired));
}

#[tokio::test]
async fn the_user_parameter_is_for_development_alone() {
    let serving = Authenticator::new(&with_secret(), Clock::system(), Chance::system()).unwrap();
    assert_eq!(serving.grant_of_user_parameter("alice").err(), Some(Refusal::Missing));
    let developing = Authenticator::new(
        &AuthConfig { user_parameter: true, ..with_secret() },
        Clock::system(),
        Chance::system(),
    )
    .unwrap();
    assert!(developing.grant_of_user_parameter("alice").unwrap().may_administer());
    assert_eq!(developing.grant_of_user_parameter("a b").err(), Some(Refusal::Subject));
}

#[test]
fn every_refusal_has_its_own_reason() {
    let reasons: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.reason()).collect();
    assert_eq!(reasons.len(), Refusal::ALL.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One bit of a good token changed, or any text: refused, and never a panic.
    #[test]
    fn a_token_that_was_changed_is_refused(at: prop::sample::Index, bit in 0..7_u8, text in "[a-zA-Z0-9._ -]{0,60}") {
        let good = token(&header("HS256"), &json!({"sub": "alice"}), Signer::Secret(SECRET));
        let mut bytes = good.clone().into_bytes();
        bytes[at.index(good.len())] ^= 1 << bit;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for changed in [String::from_utf8(bytes).unwrap(), text] {
            prop_assert!(runtime.block_on(outcome(&with_secret(), &changed)).is_err(), "{}", changed);
        }
    }
}
