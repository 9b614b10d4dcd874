//! Tokens for tests, good and bad, signed with the test keys by `ring` itself.

use std::path::PathBuf;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::{hmac, signature};
use serde_json::{Value, json};

/// A file of `fixtures/keys`.
pub(crate) fn key_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/keys").join(name)
}

/// What signs a test token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer<'a> {
    /// HMAC with these bytes.
    Secret(&'a [u8]),
    /// The RSA test key.
    Rsa,
    /// The EC test key.
    Ec,
    /// The Ed25519 test key.
    Ed,
    /// No signature at all.
    Nothing,
}

impl Signer<'_> {
    fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
            Self::Rsa => {
                let key = signature::RsaKeyPair::from_pkcs8(&private_key("rsa-private.pem")).unwrap();
                let mut signed = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signed).unwrap();
                signed
            }
            Self::Ec => {
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let der = private_key("ec-private.pem");
                let key = signature::EcdsaKeyPair::from_pkcs8(algorithm, &der, &random).unwrap();
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed => {
                let der = private_key("ed25519-private.pem");
                let key = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap();
                key.sign(message).as_ref().to_vec()
            }
            Self::Nothing => Vec::new(),
        }
    }
}

fn private_key(name: &str) -> Vec<u8> {
    let pem = std::fs::read_to_string(key_file(name)).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).unwrap()
}

/// A token with this header and these claims.
pub(crate) fn token(header: &Value, claims: &Value, signer: Signer<'_>) -> String {
    token_of_texts(&header.to_string(), &claims.to_string(), signer)
}

/// A token with these texts, JSON or not, as header and claims.
pub(crate) fn token_of_texts(header: &str, claims: &str, signer: Signer<'_>) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A header with this algorithm and no key's name.
pub(crate) fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "typ": "JWT"})
}

/// Seconds since 1970, so many from now.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}
