//! `$(VAR)` in commands, arguments and environment, as Kubernetes expands it.
//!
//! `$$(VAR)` is the literal `$(VAR)`; an unknown variable stays as written. Deliberately not a shell.

use std::collections::BTreeMap;

/// Expands the variables of `known` in `input`.
pub fn expand(input: &str, known: &BTreeMap<String, String>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            output.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|tail| tail.split_once(')'))
        {
            match known.get(name) {
                Some(value) => output.push_str(value),
                None => output.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            output.push('$');
        }
    }
    output + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_documented_cases() {
        let known = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("B".into(), "$(A)".into()),
        ]);
        for (input, expected) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(A)"),
            ("$(NO)", "$(NO)"),
            ("$(A", "$(A"),
            ("$A $", "$A $"),
            ("日$(A)本", "日1本"),
        ] {
            assert_eq!(expand(input, &known), expected, "{input}");
        }
    }
}
