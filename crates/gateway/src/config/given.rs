//! Values of options that several checks read.

use crate::secret::Secret;

/// Whether a text looks like a URL of Redis.
pub(super) fn is_redis_url(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && (scheme == "unix" || scheme.starts_with("redis") || scheme.starts_with("valkey"))
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b"+-".contains(&b))
    })
}

/// Treats an empty option as absent, because compose files leave unset variables empty.
pub(super) fn given<T>(option: Option<T>, is_empty: fn(&T) -> bool) -> Option<T> {
    option.filter(|value| !is_empty(value))
}

pub(super) fn environment(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new)
}
