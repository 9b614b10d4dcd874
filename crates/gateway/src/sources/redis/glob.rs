//! Matches the patterns of PSUBSCRIBE as Redis does: `*`, `?`, `[a-z]`, `[^x]` and `\`. It compares
//! bytes, not characters. A test compares it with a real server.

/// Whether a pattern matches a text.
#[must_use]
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    walk(pattern, text).is_some()
}

/// The shortest part of a text that the first `*` of a pattern can match; `None`: the pattern has
/// no `*`, or does not match.
#[must_use]
pub(super) fn first_star<'t>(pattern: &[u8], text: &'t [u8]) -> Option<&'t [u8]> {
    walk(pattern, text)?.map(|(from, to)| &text[from..to])
}

/// Matches a pattern. `None`: no match. Otherwise the range that the first `*` matched, if the
/// pattern has one.
///
/// Only the last `*` is tried again: a longer match of an earlier one never helps. The time is
/// therefore at most the product of the lengths, for any pattern.
fn walk(pattern: &[u8], text: &[u8]) -> Option<Option<(usize, usize)>> {
    if text.is_empty() {
        // Redis matches an empty text only with an empty pattern; even `*` does not match it.
        return pattern.is_empty().then_some(None);
    }
    let (mut at, mut from) = (0, 0);
    // The pattern after the last star, and the end of that star's match in the text.
    let mut star: Option<(usize, usize)> = None;
    let mut first: Option<(usize, usize)> = None;
    let mut is_first = true;
    loop {
        if pattern.get(at) == Some(&b'*') {
            while pattern.get(at) == Some(&b'*') {
                at += 1;
            }
            is_first = first.is_none();
            if is_first {
                first = Some((from, from));
            }
            star = Some((at, from));
            continue;
        }
        if from == text.len() && at >= pattern.len() {
            return Some(first);
        }
        if from < text.len()
            && let Some(next) = token(pattern, at, text[from])
        {
            (at, from) = (next, from + 1);
            continue;
        }
        let (behind, end) = star?;
        if end == text.len() {
            return None;
        }
        star = Some((behind, end + 1));
        (at, from) = (behind, end + 1);
        if is_first && let Some((_, to)) = &mut first {
            *to = end + 1;
        }
    }
}

/// Matches one byte with the token of the pattern at `at`. Returns the position of the next token.
fn token(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let (is_in, next) = class(pattern, at + 1, byte);
            is_in.then_some(next)
        }
        // At the end of the pattern a backslash is a literal.
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Reads a class after its `[`. Returns whether the class contains the byte, and where the pattern
/// continues. A class without its `]` ends with the pattern.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> (bool, usize) {
    let is_not = pattern.get(at) == Some(&b'^');
    at += usize::from(is_not);
    let mut is_in = false;
    loop {
        match pattern.get(at..) {
            None | Some([]) => return (is_in != is_not, pattern.len()),
            Some([b'\\', escaped, ..]) => {
                is_in |= *escaped == byte;
                at += 2;
            }
            Some([b']', ..]) => return (is_in != is_not, at + 1),
            Some([low, b'-', high, ..]) => {
                let (low, high) = (low.min(high), low.max(high));
                is_in |= (low..=high).contains(&&byte);
                at += 3;
            }
            Some([literal, ..]) => {
                is_in |= *literal == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
#[path = "../../../../events/tests/redis/server.rs"]
#[allow(dead_code, clippy::disallowed_methods, reason = "the store's own tests use the rest")]
mod server;

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: &str, text: &str) -> Option<String> {
        first_star(pattern.as_bytes(), text.as_bytes()).map(|part| String::from_utf8(part.to_vec()).unwrap())
    }

    #[test]
    fn patterns_match_whole_channels() {
        for (pattern, text, expected) in [
            ("job:*", "job:7", true),
            ("job:*", "job:", true),
            ("job:*", "jobs", false),
            ("job", "job:7", false),
            ("j?b", "jab", true),
            ("j?b", "jb", false),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"[\]]", "]", true),
            ("**a**b", "xaxb", true),
            ("*a*b", "ab ab ", false),
            ("", "", true),
            ("*", "", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_star_says_what_it_matched() {
        assert_eq!(first("job:*", "job:7").unwrap(), "7");
        assert_eq!(first("a*:*", "abc:d:e").unwrap(), "bc", "the shortest");
        assert_eq!(first("job:*", "job:").unwrap(), "");
        assert_eq!(first("job:7", "job:7"), None);
        assert_eq!(first("job:*", "user:7"), None);
    }

    /// `KEYS` matches with the same function as `PSUBSCRIBE`.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn random_patterns_match_as_in_a_real_server() {
        const PAIRS: usize = 2_000;
        let server = super::server::Server::start(&[]).await;
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let chance = events::Chance::seeded(7);
        let word = |alphabet: &[u8], length_max: u64| -> Vec<u8> {
            let length = chance.below(length_max + 1);
            (0..length).map(|_| alphabet[chance.below(alphabet.len() as u64) as usize]).collect()
        };
        let (mut matched, mut wrong) = (0, Vec::new());
        for _ in 0..PAIRS {
            // KEYS matches every key with a lone star; PSUBSCRIBE does not.
            let (pattern, text) = (word(b"abc:**?[]^-\\\\", 7), word(b"abc:]-^\\", 5));
            let mut ask = redis::pipe();
            ask.cmd("FLUSHALL").ignore().cmd("SET").arg(&text).arg(1).ignore().cmd("KEYS").arg(&pattern);
            let (found,): (Vec<Vec<u8>>,) = ask.query_async(&mut connection).await.unwrap();
            matched += found.len();
            let is_every_key = pattern == b"*";
            if !is_every_key && matches(&pattern, &text) == found.is_empty() {
                let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                wrong.push((lossy(&pattern), lossy(&text), !found.is_empty()));
            }
        }
        assert!(wrong.is_empty(), "{} differ: {:?}", wrong.len(), &wrong[..wrong.len().min(20)]);
        assert!(matched > PAIRS / 20, "only {matched} match");
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(2000).as_bytes()));
    }
}
