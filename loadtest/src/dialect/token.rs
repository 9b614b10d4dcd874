//! JSON Web Tokens with HS256, for servers that want them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// Signs with one secret.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    /// With the secret that the server verifies with.
    pub(crate) fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// The token of these claims, a JSON object.
    pub(crate) fn sign(&self, claims: &str) -> String {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_one_that_any_library_would_make() {
        // Made with Python's hmac and hashlib from the same claims.
        let token = Signer::new("secret-secret-secret-secret-0000").sign(r#"{"sub":"u7","subscribe":["*"]}"#);
        let expected = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1NyIsInN1YnNjcmliZSI6WyIqIl19.\
                        bIXX36PeOyNJSmGIQyhFFrLgetfFbTszdBCSl2HIaWg";
        assert_eq!(token, expected);
    }
}
