//! A string member of a JSON text, found without parsing it: what is read thousands of times a second is what a server wrote itself, compactly.

use memchr::memmem::Finder;

/// Looks for `"name":"` and answers the string behind it.
pub(crate) struct Member(Finder<'static>);

impl Member {
    /// `mark` is the name with its quotes, the colon and the opening quote.
    pub(crate) fn new(mark: &'static str) -> Self {
        Self(Finder::new(mark.as_bytes()))
    }

    /// The string, when the member is there. It ends at the next quote: none of the strings read here hold escapes.
    pub(crate) fn find<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let rest = &text[self.0.find(text)? + self.0.needle().len()..];
        Some(&rest[..memchr::memchr(b'"', rest)?])
    }
}

/// The unsigned number behind `mark` (`"name":`).
pub(crate) fn number(text: &[u8], mark: &str) -> Option<u32> {
    let rest = &text[memchr::memmem::find(text, mark.as_bytes())? + mark.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}
