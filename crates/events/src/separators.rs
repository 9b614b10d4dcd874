//! U+2028, U+2029 and U+0085: characters that end a line to some readers of server-sent events, though not by the
//! standard. JSON has an escape for each.

/// `json` with each of them as `\u2028`, `\u2029` or `\u0085`; `None`: it has none. In JSON they stand in strings only,
/// so that a parser gives the same value.
pub(crate) fn escape_separators(json: &[u8]) -> Option<Vec<u8>> {
    let mut escaped: Option<Vec<u8>> = None;
    let mut copied = 0;
    for at in memchr::memchr2_iter(0xe2, 0xc2, json) {
        let (escape, len) = match json[at..] {
            [0xe2, 0x80, 0xa8, ..] => (br"\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (br"\u2029", 3),
            [0xc2, 0x85, ..] => (br"\u0085", 2),
            _ => continue,
        };
        let out = escaped.get_or_insert_with(|| Vec::with_capacity(json.len() + escape.len()));
        out.extend_from_slice(&json[copied..at]);
        out.extend_from_slice(escape);
        copied = at + len;
    }
    if let Some(out) = &mut escaped {
        out.extend_from_slice(&json[copied..]);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape(text: &str) -> Option<String> {
        escape_separators(text.as_bytes()).map(|escaped| String::from_utf8(escaped).unwrap())
    }

    #[test]
    fn separators_are_escaped_and_nothing_else() {
        assert_eq!(escape("\u{2028}a\u{2029}\u{85}b").unwrap(), r"\u2028a\u2029\u0085b");
        assert_eq!(escape("\\\\\u{2028}").unwrap(), r"\\\u2028", "behind an escaped backslash");
        for text in
            ["", "plain", "\u{201c}\u{2027}\u{202a}", "\u{84}\u{86} \u{a7}", "\u{10ffff}\u{3042}", r"\u2028"]
        {
            assert_eq!(escape(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_parser_reads_the_same_text() {
        let text = "\u{85}\u{2028}\u{e9}\u{2029}\u{2014}";
        let json = serde_json::to_string(text).unwrap();
        let escaped = escape(&json).unwrap();
        assert!(!escaped.contains(['\u{85}', '\u{2028}', '\u{2029}']));
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}
