//! The forms that names, labels, variables and ports must have, and how new names and UIDs are drawn.
//!
//! Each check returns Kubernetes' own complaint, so that a validator only adds the path.

use rand::RngCore;

/// Longest DNS-1123 label, bytes (RFC 1123).
const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS-1123 subdomain, bytes (RFC 1123).
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest generated name, bytes: Kubernetes keeps such names valid as label values.
const GENERATED_BYTES_MAX: usize = 63;
/// What Kubernetes makes generated names and template hashes of: without vowels and look-alikes none is a word.
pub const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters that are appended to `generateName`.
const SUFFIX_CHARS: usize = 5;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other \
    than '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PORT_NAME: &str = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at least one \
    letter, no two hyphens together, none at the start or the end, and at most 15 characters";

/// A complaint, `None` if all is well.
pub type Complaint = Option<String>;
/// One of the checks below.
pub type Rule = fn(&str) -> Complaint;

/// DNS-1123 label: `my-name`.
pub fn dns_label(text: &str) -> Complaint {
    if text.len() > LABEL_BYTES_MAX {
        return Some(too_long(LABEL_BYTES_MAX));
    }
    (!is_dns_label(text)).then(|| LABEL.to_owned())
}

/// DNS-1123 subdomain: `my.name`.
pub fn dns_subdomain(text: &str) -> Complaint {
    if text.len() > SUBDOMAIN_BYTES_MAX {
        return Some(too_long(SUBDOMAIN_BYTES_MAX));
    }
    (!text.split('.').all(is_dns_label)).then(|| SUBDOMAIN.to_owned())
}

/// A label's or annotation's key: `app`, `example.com/app`.
pub fn qualified(text: &str) -> Complaint {
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) => {
            if prefix.is_empty() {
                return Some("prefix part must be non-empty".to_owned());
            }
            if let Some(complaint) = dns_subdomain(prefix) {
                return Some(format!("prefix part {complaint}"));
            }
            name
        }
    };
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > LABEL_BYTES_MAX {
        return Some(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    (!is_label_text(name)).then(|| QUALIFIED.to_owned())
}

/// A label's value: empty, or `My_value.1`.
pub fn label_value(text: &str) -> Complaint {
    if text.len() > LABEL_BYTES_MAX {
        return Some(too_long(LABEL_BYTES_MAX));
    }
    (!text.is_empty() && !is_label_text(text)).then(|| LABEL_VALUE.to_owned())
}

/// An environment variable's name, by today's relaxed rule.
pub fn env_name(text: &str) -> Complaint {
    let ok = |c: char| (' '..='~').contains(&c) && c != '=';
    (text.is_empty() || !text.chars().all(ok)).then(|| ENV_NAME.to_owned())
}

/// A ConfigMap's or Secret's key.
pub fn config_key(text: &str) -> Complaint {
    if text.len() > SUBDOMAIN_BYTES_MAX {
        return Some(too_long(SUBDOMAIN_BYTES_MAX));
    }
    if text == "." || text.starts_with("..") {
        return Some("must not be '.' or start with '..'".to_owned());
    }
    let ok = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (text.is_empty() || !text.chars().all(ok)).then(|| CONFIG_KEY.to_owned())
}

/// A port's name (RFC 6335 service name).
pub fn port_name(text: &str) -> Complaint {
    let ok = text.len() <= 15
        && is_dns_label(text)
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--");
    (!ok).then(|| PORT_NAME.to_owned())
}

fn is_dns_label(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    is_bounded(text, ok, b"-") && text.len() <= LABEL_BYTES_MAX
}

fn is_label_text(text: &str) -> bool {
    is_bounded(text, |b| b.is_ascii_alphanumeric(), b"-_.")
}

/// Made of `ends` and `inner` bytes, starting and ending with one of `ends`.
fn is_bounded(text: &str, ends: fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    ends(*first) && ends(*last) && bytes.iter().all(|b| ends(*b) || inner.contains(b))
}

fn too_long(bytes_max: usize) -> String {
    format!("must be no more than {bytes_max} bytes")
}

/// `base` with five random characters, cut so that the whole is still a label.
pub fn generate(base: &str, entropy: &mut dyn RngCore) -> String {
    let mut end = base.len().min(GENERATED_BYTES_MAX - SUFFIX_CHARS);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    for _ in 0..SUFFIX_CHARS {
        // The bias of the remainder is 2⁻²⁷: no one has so many names.
        let index = entropy.next_u32() as usize % ALPHABET.len();
        name.push(char::from(ALPHABET[index]));
    }
    name
}

/// A fresh UID: a version 4 UUID of the given entropy.
pub fn uid(entropy: &mut dyn RngCore) -> String {
    let mut bytes = [0; 16];
    entropy.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn check(rule: Rule, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), None, "{text:?} is fine");
        }
        for text in bad {
            assert!(rule(text).is_some(), "{text:?} is not");
        }
    }

    #[test]
    fn forms_are_checked() {
        let long = "a".repeat(64);
        let too_many = "a.".repeat(127) + "a";
        check(
            dns_label,
            &["a", "a-1", "0"],
            &["", "-a", "a-", "A", "a.b", "ä", &long],
        );
        check(
            dns_subdomain,
            &["a", "a.b-c.d"],
            &["", ".", "a.", "a..b", "A", "a_b", &too_many, &long],
        );
        check(
            qualified,
            &["app", "App_1.x", "example.com/app"],
            &["", "/a", "a/", "a/b/c", "-a", "ex_ample.com/app", &long],
        );
        check(
            label_value,
            &["", "a", "1.2_3-x"],
            &["-", "a-", "a b", &long],
        );
        check(
            env_name,
            &["A", "a.b-c", "1", "A B"],
            &["", "A=B", "ä", "a\n"],
        );
        check(
            config_key,
            &["a", ".a", "A_b-c.d"],
            &["", ".", "..", "..a", "a/b", "a b"],
        );
        check(
            port_name,
            &["http", "p80", "a-b"],
            &["", "80", "a--b", "-a", "A", "sixteen-letters-"],
        );
    }

    #[test]
    fn generated_names_are_labels_and_repeat_with_their_seed() {
        let draw = |base: &str| generate(base, &mut StdRng::seed_from_u64(7));
        assert_eq!(draw("web-"), draw("web-"));
        assert_eq!(draw("web-").len(), 9);
        assert_eq!(draw(&"x".repeat(80)).len(), 63);
        assert_eq!(dns_label(&draw("web-")), None);
        assert!(generate("ä".repeat(40).as_str(), &mut StdRng::seed_from_u64(7)).len() <= 63);
    }

    #[test]
    fn uids_are_version_4() {
        let uid = uid(&mut StdRng::seed_from_u64(1));
        assert_eq!(uuid::Uuid::parse_str(&uid).unwrap().get_version_num(), 4);
    }
}
