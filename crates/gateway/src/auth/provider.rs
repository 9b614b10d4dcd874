//! Signatures by `ring`, for the JWT library.
//!
//! jsonwebtoken takes its cryptography from a [`CryptoProvider`]. The two that it ships, on aws-lc-rs and on the
//! RustCrypto crates, would add a second implementation of every primitive to a program that has `ring` already. So
//! this maps the four algorithms that are accepted onto ring's, and no other can be reached. Only HS256 can sign: the
//! gateway issues no tokens but those of `gateway token`.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::{hmac, signature};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // Only needed to derive JWKs from keys, which the gateway never does.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `ring` the provider of this process. Idempotent.
pub(super) fn install() {
    // An error means that it is installed already.
    let _ = PROVIDER.install_default();
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
        }
        _ => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

/// The family of the key, not the token's header, decides: a public key never becomes an HMAC secret.
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let public: &'static dyn signature::VerificationAlgorithm = match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            let secret = key.try_get_as_bytes()?;
            return Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))));
        }
        (Algorithm::RS256, AlgorithmFamily::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Algorithm::ES256, AlgorithmFamily::Ec) => &signature::ECDSA_P256_SHA256_FIXED,
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => &signature::ED25519,
        _ => return Err(new_error(ErrorKind::InvalidAlgorithm)),
    };
    Ok(Box::new(Public { algorithm: *algorithm, by: public, key: key.clone() }))
}

struct Hs256(hmac::Key);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), SignatureError> {
        hmac::verify(&self.0, message, tag).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// A public key with the one algorithm that it verifies.
struct Public {
    algorithm: Algorithm,
    by: &'static dyn signature::VerificationAlgorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) => {
                signature::UnparsedPublicKey::new(self.by, key).verify(message, signature)
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature),
        }
        .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authenticator picks keys by algorithm already; this holds even where that went wrong.
    #[test]
    fn no_key_serves_the_algorithm_of_another_family() {
        let keys = [
            (Algorithm::HS256, DecodingKey::from_secret(b"secret")),
            (Algorithm::RS256, DecodingKey::from_rsa_der(b"key")),
            (Algorithm::ES256, DecodingKey::from_ec_der(b"key")),
            (Algorithm::EdDSA, DecodingKey::from_ed_der(b"key")),
        ];
        for (own, key) in &keys {
            for (algorithm, _) in &keys {
                assert_eq!(verifier(algorithm, key).is_ok(), algorithm == own, "{algorithm:?} by {own:?}");
            }
            for never in [Algorithm::HS384, Algorithm::RS512, Algorithm::PS256, Algorithm::ES384] {
                assert!(verifier(&never, key).is_err(), "{never:?}");
            }
        }
        assert!(signer(&Algorithm::HS512, &EncodingKey::from_secret(b"secret")).is_err());
        assert!(signer(&Algorithm::HS256, &EncodingKey::from_rsa_der(b"key")).is_err());
    }
}
