//! A CloudEvent in the binary mode of HTTP (CloudEvents 1.0, HTTP protocol binding, section 3.1):
//! attributes in headers, data in the body. It is written anew in the JSON format, so that one
//! parser has all rules.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::problem::Problem;

/// The attributes that matter to a draft. Others are let through, as in the JSON format.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("specversion", "ce-specversion"),
    ("id", "ce-id"),
    ("source", "ce-source"),
    ("type", "ce-type"),
    ("subject", "ce-subject"),
    ("topic", "ce-topic"),
];

/// Whether a request that is not in structured mode is in binary mode.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// The event in the JSON format.
///
/// # Errors
/// Names the header that is no attribute, or says that the body is not what its content type says.
pub(super) fn structured(headers: &HeaderMap, body: &[u8]) -> Result<Bytes, Problem> {
    let mut event = serde_json::Map::new();
    for (name, header) in ATTRIBUTES {
        if let Some(value) = attribute(headers, header)? {
            event.insert(name.to_owned(), value.into());
        }
    }
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(flatten)]
        attributes: serde_json::Map<String, serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data_base64: Option<String>,
    }
    let mut event = Event { attributes: event, data: None, data_base64: None };
    let text;
    match DataKind::of(headers) {
        _ if body.is_empty() => {}
        DataKind::Json => {
            let json = serde_json::from_slice(body);
            event.data =
                Some(json.map_err(|error| Problem::bad_request(format!("data: not JSON: {error}")))?);
        }
        DataKind::Text => {
            let body = str::from_utf8(body).map_err(|_| Problem::bad_request("data: not UTF-8"))?;
            text = to_raw_value(body).map_err(|_| Problem::bad_request("data: not text"))?;
            event.data = Some(&text);
        }
        DataKind::Bytes => event.data_base64 = Some(BASE64.encode(body)),
    }
    let json = serde_json::to_vec(&event).map_err(|_| Problem::bad_request("not a CloudEvent"))?;
    Ok(json.into())
}

/// What the content type says of the data.
enum DataKind {
    Json,
    Text,
    Bytes,
}

impl DataKind {
    /// Without a content type, and with the one that `curl -d` sets by itself, it is JSON.
    fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*kind {
            "" | "application/json" | "text/json" | "application/x-www-form-urlencoded" => Self::Json,
            kind if kind.ends_with("+json") => Self::Json,
            "application/xml" => Self::Text,
            kind if kind.starts_with("text/") || kind.ends_with("+xml") => Self::Text,
            _ => Self::Bytes,
        }
    }
}

/// An attribute as it is meant: out of its quotes first, then with one round of percent-decoding
/// (section 3.1.3.2).
fn attribute(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let wrong = |why: &str| Problem::bad_request(format!("{name}: {why}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("given more than once"));
    }
    let value = unquoted(value);
    let decoded = percent_decode(&value).decode_utf8().map_err(|_| wrong("not UTF-8"))?;
    Ok(Some(decoded.into_owned()))
}

/// The content of a quoted string (RFC 9110, section 5.6.4), or the value as it is.
fn unquoted(value: &HeaderValue) -> Cow<'_, [u8]> {
    let bytes = value.as_bytes();
    let Some(inner) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(bytes);
    };
    let mut content = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        content.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    Cow::Owned(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(headers: &[(&'static str, &'static str)], body: &[u8]) -> Result<String, String> {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        let event = structured(&all, body).map_err(|problem| problem.detail)?;
        Ok(String::from_utf8(event.to_vec()).unwrap())
    }

    #[test]
    fn attributes_are_decoded_as_the_binding_says() {
        let id = |value| made(&[("ce-id", value)], b"").unwrap();
        assert_eq!(id("Euro%20%E2%82%AC%20%F0%9F%98%80"), r#"{"id":"Euro € 😀"}"#, "its own example");
        assert_eq!(id(r#""a \" b""#), r#"{"id":"a \" b"}"#);
        assert_eq!(id("a+b%2B100%"), r#"{"id":"a+b+100%"}"#, "no form encoding");
        assert_eq!(id("%2541"), r#"{"id":"%41"}"#, "one round");
        assert_eq!(id("é"), r#"{"id":"é"}"#);
        assert_eq!(made(&[("ce-id", "%FF")], b"").unwrap_err(), "ce-id: not UTF-8");
        assert_eq!(made(&[("ce-id", "a"), ("ce-id", "b")], b"").unwrap_err(), "ce-id: given more than once");
    }

    #[test]
    fn data_is_what_its_content_type_says() {
        let data = |kind, body| made(&[("content-type", kind)], body);
        assert_eq!(
            data("application/json; charset=utf-8", b" {\"a\": 1.0} ").unwrap(),
            r#"{"data":{"a": 1.0}}"#
        );
        assert_eq!(data("application/vnd.acme+json", b"1").unwrap(), r#"{"data":1}"#);
        assert_eq!(data("application/x-www-form-urlencoded", b"[]").unwrap(), r#"{"data":[]}"#);
        assert_eq!(data("text/plain", b"a \"b\"").unwrap(), r#"{"data":"a \"b\""}"#);
        assert_eq!(data("application/octet-stream", &[1, 2]).unwrap(), r#"{"data_base64":"AQI="}"#);
        assert_eq!(data("application/json", b"").unwrap(), "{}");
        assert!(data("application/json", b"1,\"id\":2").unwrap_err().starts_with("data: not JSON"));
        assert_eq!(data("text/plain", &[0xff]).unwrap_err(), "data: not UTF-8");
    }
}
