//! As much of PromQL as it takes to know what a query names: selectors, and the labels it groups by.

/// `label="value"`, whatever the operator.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) value: String,
}

/// `metric{matchers}`.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// A selector where a query uses it.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) selector: Selector,
    /// The labels of every `by` around it.
    pub(crate) grouped_by: Vec<String>,
}

/// What a query names.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) selectors: Vec<Used>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

impl Query {
    /// # Errors
    /// What is not understood, in words: a query that cannot be checked is a fault too.
    pub(crate) fn parse(expr: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(expr)?, place: 0 };
        let mut selectors = Vec::new();
        parser.expression(&[], &mut selectors)?;
        if parser.place < parser.tokens.len() {
            return Err("a parenthesis too many".to_owned());
        }
        if selectors.is_empty() {
            return Err("names no metric".to_owned());
        }
        Ok(Self { selectors })
    }
}

/// Reads one selector, which is also the form of a sample in the text exposition.
pub(crate) fn selector(text: &str) -> Result<Selector, String> {
    let mut query = Query::parse(text)?;
    match query.selectors.pop() {
        Some(used) if query.selectors.is_empty() => Ok(used.selector),
        _ => Err(format!("not one selector: {text}")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
}

impl Parser {
    fn peek_sign(&self) -> Option<char> {
        match self.tokens.get(self.place) {
            Some(Token::Sign(sign)) => Some(*sign),
            _ => None,
        }
    }

    fn skip_sign(&mut self, sign: char) -> bool {
        let found = self.peek_sign() == Some(sign);
        self.place += usize::from(found);
        found
    }

    /// Up to the closing parenthesis or the end.
    fn expression(&mut self, grouped_by: &[String], found: &mut Vec<Used>) -> Result<(), String> {
        while let Some(token) = self.tokens.get(self.place) {
            match token {
                Token::Sign(')') => return Ok(()),
                Token::Sign('(') => self.parentheses(grouped_by, found)?,
                Token::Word(word) => {
                    let word = word.clone();
                    self.place += 1;
                    self.word(word, grouped_by, found)?;
                }
                Token::Sign(_) | Token::Text(_) => self.place += 1,
            }
        }
        Ok(())
    }

    fn parentheses(&mut self, grouped_by: &[String], found: &mut Vec<Used>) -> Result<(), String> {
        self.place += 1;
        self.expression(grouped_by, found)?;
        if self.skip_sign(')') { Ok(()) } else { Err("a parenthesis is not closed".to_owned()) }
    }

    fn word(&mut self, word: String, grouped_by: &[String], found: &mut Vec<Used>) -> Result<(), String> {
        match word.as_str() {
            "and" | "or" | "unless" | "bool" => Ok(()),
            "by" => {
                let mut labels = self.labels()?;
                if self.peek_sign() != Some('(') {
                    return Err("`by (…)` is written before what it groups".to_owned());
                }
                labels.extend_from_slice(grouped_by);
                self.parentheses(&labels, found)
            }
            "without" | "on" | "ignoring" | "group_left" | "group_right" | "offset" => {
                Err(format!("`{word}` is not understood by this check"))
            }
            // A function or an aggregation; its arguments come next.
            _ if self.peek_sign() == Some('(') => Ok(()),
            _ if matches!(self.tokens.get(self.place), Some(Token::Word(next)) if next == "by") => Ok(()),
            _ => {
                let matchers = self.matchers()?;
                found.push(Used {
                    selector: Selector { metric: word, matchers },
                    grouped_by: grouped_by.to_vec(),
                });
                Ok(())
            }
        }
    }

    fn labels(&mut self) -> Result<Vec<String>, String> {
        let mut labels = Vec::new();
        if !self.skip_sign('(') {
            return Err("`by` without labels".to_owned());
        }
        while !self.skip_sign(')') {
            match self.tokens.get(self.place) {
                Some(Token::Word(label)) => labels.push(label.clone()),
                Some(Token::Sign(',')) => {}
                other => return Err(format!("{other:?} where a label should be")),
            }
            self.place += 1;
        }
        Ok(labels)
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, String> {
        let mut matchers = Vec::new();
        if !self.skip_sign('{') {
            return Ok(matchers);
        }
        let mut label = None;
        while !self.skip_sign('}') {
            match self.tokens.get(self.place) {
                Some(Token::Word(word)) => label = Some(word.clone()),
                Some(Token::Text(value)) => {
                    let label = label.take().ok_or("a value without a label")?;
                    matchers.push(Matcher { label, value: value.clone() });
                }
                Some(Token::Sign('=' | '!' | '~' | ',')) => {}
                other => return Err(format!("{other:?} among the matchers")),
            }
            self.place += 1;
        }
        Ok(matchers)
    }
}

/// Numbers, durations, ranges in brackets and Grafana's variables outside of strings name nothing: left out.
fn tokens(expr: &str) -> Result<Vec<Token>, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
    let mut tokens = Vec::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let end = rest[1..].find('"').ok_or("a string is not closed")?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            '[' => rest.find(']').ok_or("a bracket is not closed")? + 1,
            '$' => 1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1),
            _ if is_word(first) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                if !first.is_ascii_digit() {
                    tokens.push(Token::Word(rest[..end].to_owned()));
                }
                end
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}
