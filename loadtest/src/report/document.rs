//! RESULTS.md: one section a scenario, each replaced by its next run.

/// The document before the first run.
pub(crate) const EMPTY: &str = "\
# Measured results

`make load` and `make load-peers` produce these results. Every section names its command, commit and
machine. CPU figures are the user and system time of the server's own processes; they are medians
over rounds in which the servers took turns. *Over the floor* is the median of the ratios within
each round. The load generator counts losses, duplicates and reorders from numbers in the data of
the events.
";

/// The document with the section of `name` replaced, or appended where it has none.
pub(crate) fn replace(document: &str, name: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let section = format!("{open}\n{}\n{close}", section.trim_end());
    let found = document.find(&open).and_then(|start| {
        let end = start + document[start..].find(&close)? + close.len();
        Some((start, end))
    });
    match found {
        Some((start, end)) => format!("{}{section}{}", &document[..start], &document[end..]),
        None => format!("{}\n\n{section}\n", document.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_appended_once_and_replaced_in_its_place() {
        let first = replace(&replace(EMPTY, "a", "## a\none\n"), "ab", "## ab\ntwo\n");
        let second = replace(&first, "a", "## a\nthree\n");
        assert!(second.starts_with(EMPTY.trim_end()));
        assert!(
            !second.contains("one") && second.contains("three\n<!-- end of a -->\n\n<!-- ab -->\n## ab\ntwo")
        );
        assert_eq!(replace(&second, "a", "## a\nthree\n"), second);
    }
}
