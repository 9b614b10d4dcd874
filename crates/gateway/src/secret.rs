//! Text that must never be shown.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A key, a password, or a URL that holds one. Its `Debug` prints `…`, and it has no `Display`, so that no
/// log line, error or dump of the configuration can show it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text, such as a server's error, without what is secret in this URL: `…` stands for its user,
    /// its password and the values of its parameters, as they are written and as they are meant. A
    /// server may quote what it was sent: Redis does so for a command that it does not know.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let mut scrubbed = text.replace(&self.0, "…");
        for part in self.parts() {
            scrubbed = scrubbed.replace(&part, "…");
        }
        scrubbed
    }

    /// What is secret in a URL, the longest part first. Without the scheme of one, the whole text.
    fn parts(&self) -> Vec<String> {
        let Some((_, rest)) = self.0.split_once("://") else { return vec![self.0.clone()] };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts: Vec<String> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name.contains("user") || name.contains("password"))
            .map(|(_, value)| value.into_owned())
            .collect();
        for host in rest.split(',') {
            let Some((credentials, _)) = host.rsplit_once('@') else { continue };
            let credentials = credentials.rsplit_once("://").map_or(credentials, |(_, behind)| behind);
            parts.push(credentials.to_owned());
            parts.extend(credentials.splitn(2, ':').map(str::to_owned));
        }
        // `+` is no blank in the user's part of a URL.
        let plain = |part: &String| part.replace('+', "%2B");
        let meant: Vec<String> = parts
            .iter()
            .map(plain)
            .flat_map(|part| {
                form_urlencoded::parse(part.as_bytes()).map(|(text, _)| text.into_owned()).collect::<Vec<_>>()
            })
            .collect();
        parts.extend(meant);
        parts.retain(|part| !part.is_empty());
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        parts
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_shown_without_the_secrets_of_its_url() {
        let url = Secret::new("redis://app:p%40ss+word@h:6379/0");
        let said = "ERR unknown command 'AUTH', with args beginning with: 'app' 'p@ss+word' ";
        assert_eq!(url.scrub(said), "ERR unknown command 'AUTH', with args beginning with: '…' '…' ");
        let sentinel = Secret::new("redis-sentinel://:one@a,b/main?db=3&sentinel_password=two");
        assert_eq!(sentinel.scrub("one two main 3"), "… … main 3");
        let list = Secret::new("redis://:one@a,redis://u:two@b");
        assert_eq!(list.scrub("one two u a b"), "… … … a b");
        assert_eq!(Secret::new("redis://h").scrub("h said no"), "h said no");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(…)");
    }
}
