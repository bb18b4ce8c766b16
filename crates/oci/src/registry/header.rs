//! What registries say in `WWW-Authenticate` (RFC 9110, 11.6.1) and `Link` (RFC 8288).

use std::collections::BTreeMap;

/// The longest header that is read.
const HEADER_LIMIT: usize = 16 << 10;
/// The most challenges, or links, of one header.
const COUNT_LIMIT: usize = 32;

/// How a server wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By user and password.
    Basic,
    /// By a token that another place gives out (docker's token authentication).
    Bearer {
        /// The URL of that place.
        realm: String,
        /// The name that place knows the registry by.
        service: Option<String>,
        /// What the token must allow; several are parted by spaces.
        scope: Option<String>,
    },
    /// In a way that is not known.
    Other(String),
}

/// The challenges of a `WWW-Authenticate` header; what is malformed ends the list.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = match header.get(..HEADER_LIMIT) {
        Some(_) => return Vec::new(),
        None => header,
    };
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() || found.len() >= COUNT_LIMIT {
            break;
        }
        let Some((name, after)) = token(rest) else {
            break;
        };
        let blank = after.trim_start_matches([' ', '\t']);
        match (blank.strip_prefix('='), found.last_mut()) {
            // `name = value` belongs to the scheme before it.
            (Some(value), Some((_, parameters))) => {
                let Some((value, after)) = parameter(value.trim_start_matches([' ', '\t'])) else {
                    break;
                };
                parameters.entry(name.to_ascii_lowercase()).or_insert(value);
                rest = after;
            }
            (Some(_), None) => break,
            (None, _) => {
                found.push((name.to_ascii_lowercase(), BTreeMap::new()));
                rest = after;
            }
        }
    }
    let known = |(scheme, mut parameters): (String, BTreeMap<String, String>)| match &*scheme {
        "basic" => Challenge::Basic,
        "bearer" => match parameters.remove("realm") {
            Some(realm) => Challenge::Bearer {
                realm,
                service: parameters.remove("service"),
                scope: parameters.remove("scope"),
            },
            None => Challenge::Other(scheme),
        },
        _ => Challenge::Other(scheme),
    };
    found.into_iter().map(known).collect()
}

/// The target of the first link to the next page: `</v2/…>; rel="next"`.
pub fn next_link(header: &str) -> Option<&str> {
    if header.len() > HEADER_LIMIT {
        return None;
    }
    let mut rest = header;
    for _ in 0..COUNT_LIMIT {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, mut parameters) = rest.strip_prefix('<')?.split_once('>')?;
        let mut is_next = false;
        while let Some(after) = parameters.trim_start_matches([' ', '\t']).strip_prefix(';') {
            let after = after.trim_start_matches([' ', '\t']);
            let Some((name, after)) = token(after) else {
                parameters = after;
                continue;
            };
            parameters = after;
            let blank = after.trim_start_matches([' ', '\t']);
            if let Some(value) = blank.strip_prefix('=') {
                let (value, after) = parameter(value.trim_start_matches([' ', '\t']))?;
                parameters = after;
                let mut relations = value.split_ascii_whitespace();
                is_next |= name.eq_ignore_ascii_case("rel")
                    && relations.any(|relation| relation.eq_ignore_ascii_case("next"));
            }
        }
        if is_next {
            return Some(target);
        }
        rest = parameters
            .trim_start_matches([' ', '\t'])
            .strip_prefix(',')?;
    }
    None
}

/// A token (RFC 9110, 5.6.2) at the beginning, and what follows.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |character: char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(character)
    };
    let end = text
        .find(|character| !is_token(character))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token or a quoted string at the beginning, and what follows.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t', ';']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return Some((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_write_them() {
        let found = challenges(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push repository:c:pull",error="invalid_token", Basic realm="x, y=\"z\"""#,
        );
        assert_eq!(
            found,
            [
                Challenge::Bearer {
                    realm: "https://auth.example/token".to_owned(),
                    service: Some("registry.example".to_owned()),
                    scope: Some("repository:a/b:pull,push repository:c:pull".to_owned()),
                },
                Challenge::Basic,
            ]
        );
        assert_eq!(challenges("basic"), [Challenge::Basic]);
        assert_eq!(
            challenges("Bearer realm = https://x.example/t , Negotiate"),
            [
                Challenge::Bearer {
                    realm: "https://x.example/t".to_owned(),
                    service: None,
                    scope: None,
                },
                Challenge::Other("negotiate".to_owned()),
            ]
        );
        assert_eq!(
            challenges("Bearer"),
            [Challenge::Other("bearer".to_owned())]
        );
        for nothing in ["", "=", "realm=\"x\"", "\"", "@"] {
            assert_eq!(challenges(nothing), [], "{nothing}");
        }
        assert_eq!(challenges(&"Basic,".repeat(5000)), []);
    }

    #[test]
    fn the_next_page() {
        for (header, next) in [
            (
                r#"</v2/a/tags/list?n=1&last=x>; rel="next""#,
                Some("/v2/a/tags/list?n=1&last=x"),
            ),
            ("<a>;rel=next", Some("a")),
            (
                r#"<a>; rel="prev", <b>; title="x, <y>"; rel="last next""#,
                Some("b"),
            ),
            (r#"<a>; rel="prev""#, None),
            ("<a", None),
            ("a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), next, "{header}");
        }
    }
}
