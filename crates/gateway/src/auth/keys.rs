//! Keys that verify tokens: each has the one algorithm that it verifies, decided by the key and never by a token.

use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::config::error::ConfigError;
use crate::object;
use crate::secret::Secret;

/// Keys of a set that are read; the others are left out.
const SET_KEYS_MAX: usize = 100;

/// Bytes of the shortest RSA modulus accepted: 2,048 bits (RFC 7518, section 3.3).
const RSA_MODULUS_BYTES_MIN: usize = 256;

/// Bytes of a PKCS #1 public key with such a modulus and the usual exponent.
const RSA_DER_BYTES_MIN: usize = 270;

/// Bytes of an uncompressed point of P-256.
const P256_POINT_BYTES: usize = 65;

/// A key and the algorithm that it verifies.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    /// The name by which tokens call it; `None`: it is tried for any.
    pub(super) id: Option<String>,
    pub(super) key: DecodingKey,
}

impl VerifyingKey {
    /// The shared secret of HS256.
    pub(super) fn from_secret(secret: &Secret) -> Self {
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Self { algorithm: Algorithm::HS256, id: None, key }
    }

    /// The public key in a PEM file.
    pub(super) fn from_pem_file(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |reason: &str| ConfigError::new(format!("--jwt-public-key {}: {reason}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        Self::from_pem(&pem).map_err(wrong)
    }

    fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(pem).map_err(|_| "not a PEM file")?;
        if text.contains("PRIVATE KEY-----") {
            return Err("this is a private key; the gateway needs the public one (openssl pkey -pubout)");
        }
        if !text.contains("-----BEGIN PUBLIC KEY-----") && !text.contains("-----BEGIN RSA PUBLIC KEY-----") {
            return Err("not a PEM file with a PUBLIC KEY");
        }
        let bytes = |key: &DecodingKey| key.try_get_as_bytes().map_or(0, <[u8]>::len);
        let (algorithm, key) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            if bytes(&key) < RSA_DER_BYTES_MIN {
                return Err("an RSA key needs at least 2048 bits");
            }
            (Algorithm::RS256, key)
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            if bytes(&key) != P256_POINT_BYTES {
                return Err("an EC key must be on the curve P-256 (ES256)");
            }
            (Algorithm::ES256, key)
        } else if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            (Algorithm::EdDSA, key)
        } else {
            return Err("not an RSA, EC P-256 or Ed25519 public key");
        };
        Ok(Self { algorithm, id: None, key })
    }

    /// A member of a key set. `secrets`: whether a symmetric key is taken, which only a local file may hold.
    fn from_jwk(jwk: &Jwk, secrets: bool) -> Result<Self, &'static str> {
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::OctetKey(_) if secrets => (Algorithm::HS256, KeyAlgorithm::HS256),
            AlgorithmParameters::OctetKey(_) => return Err("a symmetric key is taken from a file only"),
            _ => return Err("a kind of key that is not used"),
        };
        if jwk.common.key_algorithm.is_some_and(|given| given != name) {
            return Err("an algorithm that is not accepted");
        }
        if jwk.common.public_key_use.as_ref().is_some_and(|given| *given != PublicKeyUse::Signature) {
            return Err("not for signatures");
        }
        let operations = jwk.common.key_operations.as_ref();
        if operations.is_some_and(|given| !given.contains(&KeyOperations::Verify)) {
            return Err("not for verifying");
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|_| "not readable")?;
        let long_enough = match key.kind() {
            jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => n.len() >= RSA_MODULUS_BYTES_MIN,
            jsonwebtoken::DecodingKeyKind::SecretOrDer(bytes) => match algorithm {
                Algorithm::ES256 => bytes.len() == P256_POINT_BYTES,
                Algorithm::EdDSA => bytes.len() == 32,
                _ => !bytes.is_empty(),
            },
        };
        if !long_enough {
            return Err("of a wrong length");
        }
        Ok(Self { algorithm, id: jwk.common.key_id.clone(), key })
    }
}

/// Reads a JSON Web Key Set (RFC 7517). Members that are not for verifying tokens, or of a kind that is not accepted, are
/// left out, so that a provider may add what it likes.
pub(super) fn read_key_set(json: &[u8], secrets: bool) -> Result<Vec<VerifyingKey>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }

    let set: Set = object::from_slice(json).map_err(|_| "not a JSON Web Key Set")?;
    let mut keys = Vec::new();
    for member in set.keys.into_iter().take(SET_KEYS_MAX) {
        let read = serde_json::from_value::<Jwk>(member).map_err(|_| "not readable");
        match read.and_then(|jwk| VerifyingKey::from_jwk(&jwk, secrets)) {
            Ok(key) => keys.push(key),
            Err(reason) => tracing::debug!(reason, "a key of the key set is not used"),
        }
    }
    if keys.is_empty() {
        return Err("no key in it can verify tokens (RS256, ES256, EdDSA)");
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::key_file;

    #[test]
    fn the_pem_decides_the_algorithm() {
        for (file, algorithm) in [
            ("rsa-public.pem", Algorithm::RS256),
            ("ec-public.pem", Algorithm::ES256),
            ("ed25519-public.pem", Algorithm::EdDSA),
        ] {
            assert_eq!(VerifyingKey::from_pem_file(&key_file(file)).unwrap().algorithm, algorithm);
        }
    }

    #[test]
    fn unfit_pem_files_are_refused_in_one_line() {
        for (file, reason) in [
            ("rsa-private.pem", "private key"),
            ("ec-private.pem", "private key"),
            ("ed25519-private.pem", "private key"),
            ("rsa-1024-public.pem", "2048 bits"),
            ("ec-p384-public.pem", "P-256"),
            ("jwks.json", "not a PEM file"),
            ("absent.pem", "No such file"),
        ] {
            let error = VerifyingKey::from_pem_file(&key_file(file)).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_key_set_gives_what_is_fit_and_leaves_the_rest() {
        let mut set: Value = serde_json::from_slice(&std::fs::read(key_file("jwks.json")).unwrap()).unwrap();
        let members = set["keys"].as_array_mut().unwrap();
        let changed = |of: usize, name: &str, value: Value| {
            let mut key = members[of].clone();
            key[name] = value;
            key
        };
        let unfit = vec![
            changed(0, "use", "enc".into()),
            changed(0, "alg", "RS512".into()),
            changed(0, "alg", "PS256".into()),
            changed(0, "n", "AQAB".into()),
            changed(1, "crv", "P-384".into()),
            changed(1, "x", "AQAB".into()),
            changed(2, "x", "AQAB".into()),
            changed(2, "key_ops", serde_json::json!(["sign"])),
            serde_json::json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}),
            serde_json::json!({"kty": "new", "kid": "n"}),
            serde_json::json!(7),
        ];
        members.extend(unfit);
        let ids = |keys: Vec<VerifyingKey>| keys.into_iter().filter_map(|key| key.id).collect::<Vec<_>>();
        let json = serde_json::to_vec(&set).unwrap();
        assert_eq!(ids(read_key_set(&json, false).unwrap()), ["rsa-1", "ec-1", "ed-1"]);
        assert_eq!(ids(read_key_set(&json, true).unwrap()), ["rsa-1", "ec-1", "ed-1", "s"]);
    }

    #[test]
    fn what_is_no_key_set_is_an_error() {
        for json in
            ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"eA\"}]}"]
        {
            assert!(read_key_set(json.as_bytes(), false).is_err(), "{json}");
        }
        let set: Value = serde_json::from_slice(&std::fs::read(key_file("jwks.json")).unwrap()).unwrap();
        assert!(read_key_set(set.to_string().as_bytes(), false).is_ok());
        let array = Value::Array(vec![set["keys"].clone()]).to_string();
        assert!(read_key_set(array.as_bytes(), false).is_err(), "an array of the members of a set is none");
    }
}
