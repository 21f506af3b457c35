//! A Rust file as the rules see it: its text, and its code with comments and literals blanked out.
//!
//! A lexer of the few things that hide code, no parser: rules look for words and braces.

use std::ops::Range;

/// One file.
#[derive(Debug)]
pub struct Source {
    /// From the repository's top, with `/`.
    pub path: String,
    /// As written.
    pub text: String,
    /// The same length and lines; every byte of a comment, string or character literal is a space.
    pub code: String,
    /// Byte ranges of items under `#[cfg(test)]`.
    tests: Vec<Range<usize>>,
    /// The whole file is test code.
    pub is_test: bool,
}

impl Source {
    /// Reads it. `is_test` says that some other file declares it under `#[cfg(test)]`.
    pub fn new(path: &str, text: &str, is_test: bool) -> Self {
        let code = blank(text);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tests: test_items(&code),
            is_test: is_test || path.starts_with("tests/") || path.starts_with("sim/tests/"),
            code,
        }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// Whether that byte is test code.
    pub fn in_test(&self, offset: usize) -> bool {
        self.is_test || self.tests.iter().any(|range| range.contains(&offset))
    }

    /// Where a word (or path, or any text) stands in the code, not as part of a longer word.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let found = self.code.match_indices(word).map(|(at, _)| at);
        found.filter(move |at| is_word(&self.code, *at, word))
    }

    /// The modules that it declares under `#[cfg(test)]` without a body: their paths, without `.rs`.
    pub fn test_modules(&self) -> Vec<String> {
        let declared = self.tests.iter().filter_map(|range| {
            let item = &self.code[range.clone()];
            let name = item.split("mod ").nth(1)?.trim_end().strip_suffix(';')?;
            Some(name.trim().to_owned())
        });
        let directory = self.module_directory();
        declared.map(|name| format!("{directory}/{name}")).collect()
    }

    /// Where its child modules are: `a/b` of `a/b.rs`, `a/mod.rs`'s own directory.
    fn module_directory(&self) -> String {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (directory, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        match name {
            "mod" | "lib" | "main" => directory.to_owned(),
            _ => stem.to_owned(),
        }
    }
}

fn is_word(code: &str, at: usize, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    let first = word.chars().next().is_some_and(joins);
    let last = word.chars().next_back().is_some_and(joins);
    let before = code[..at].chars().next_back().is_some_and(joins);
    let after = code[at + word.len()..].chars().next().is_some_and(joins);
    let part_of_longer = (first && before) || (last && after);
    !part_of_longer
}

/// The byte after the brace that closes the one at `open`; the end of the code if none does.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    code.len()
}

/// The first `{` or `;` from `from` on that stands in no parentheses or brackets.
pub fn body_or_end(code: &str, from: usize) -> Option<(usize, u8)> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' | b';' if depth == 0 => return Some((at, byte)),
            _ => {}
        }
    }
    None
}

fn test_items(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let item = |(at, _): (usize, &str)| match body_or_end(code, at + MARK.len()) {
        Some((open, b'{')) => at..closing(code, open),
        Some((end, _)) => at..end + 1,
        None => at..code.len(),
    };
    code.match_indices(MARK).map(item).collect()
}

/// The text with comments and literals blanked.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = hidden_end(text, at);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole characters are blanked or none of a character is")
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none does.
fn hidden_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    if !text.is_char_boundary(at) {
        return at;
    }
    match rest.as_bytes()[0] {
        b'/' if rest.starts_with("//") => at + rest.find('\n').unwrap_or(rest.len()),
        b'/' if rest.starts_with("/*") => at + block_comment(rest),
        b'"' => at + string(rest),
        b'r' if !joined(text, at) => at + raw_string(rest),
        b'\'' => at + character(rest),
        _ => at,
    }
}

/// Whether the byte before belongs to the same word; `b` of `br"…"` does not count.
fn joined(text: &str, at: usize) -> bool {
    let mut before = text[..at].chars().rev();
    let Some(previous) = before.next() else {
        return false;
    };
    let word = |c: char| c.is_alphanumeric() || c == '_';
    word(previous) && (previous != 'b' || before.next().is_some_and(word))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#` and so on; 0 if it is none.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    if rest.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    rest[body..]
        .find(&end)
        .map_or(rest.len(), |at| body + at + end.len())
}

/// `'x'` or `'\n'`; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match inside.next() {
        Some('\\') => 3 + rest[3..].find('\'').map_or(0, |at| at + 1),
        Some(one) if inside.next() == Some('\'') => 2 + one.len_utf8(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = concat!(
            "a // b\n",
            "c /* d /* e */ f */ g\n",
            "h \"i \\\" j\" k r#\"l \" m\"# n br\"o\" p\n",
            "q '━' r '\\'' s 't u '\\u{1F600}' v"
        );
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        let words: Vec<_> = code.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "a", "c", "g", "h", "k", "n", "b", "p", "q", "r", "s", "'t", "u", "v"
            ]
        );
    }

    #[test]
    fn test_items_are_known() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { 1 } }\nfn c() {}\n#[cfg(test)]\nmod checks;\n";
        let source = Source::new("src/raft/log.rs", text, false);
        let at = |word: &str| source.words(word).next().unwrap();
        assert!(!source.in_test(at("a")));
        assert!(source.in_test(at("b")));
        assert!(!source.in_test(at("c")));
        assert_eq!(source.test_modules(), ["src/raft/log/checks"]);
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new("src/a.rs", "tokio my_tokio tokio::x tokios", false);
        assert_eq!(source.words("tokio").count(), 2);
        assert_eq!(source.words(".unwrap()").count(), 0);
    }
}
