//! The modules that a pkg-config file requires (pkgconf's `pc(5)`).

use std::collections::BTreeMap;

/// Variables may name each other; deeper chains and longer results are left as they are.
const MAX_DEPTH: usize = 16;
const MAX_LENGTH: usize = 64 * 1024;

/// The modules named in `Requires`, `Requires.private` and `Requires.internal`, in order, without
/// their versions.
pub(super) fn requirements(text: &str) -> Vec<String> {
    let mut variables = BTreeMap::new();
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        // A backslash at the end continues the line.
        while let Some(start) = line.strip_suffix('\\') {
            match lines.next() {
                Some(next) => line = format!("{start} {}", next.trim_start()),
                None => line = start.to_owned(),
            }
        }
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(end) = line.find(['=', ':']) else {
            continue;
        };
        let (name, value) = line.split_at(end);
        let (name, value) = (name.trim(), value.get(1..).unwrap_or_default().trim());
        if line.as_bytes().get(end) == Some(&b'=') {
            let value = expand(value, &variables, 0);
            variables.insert(name.to_owned(), value);
        } else if ["Requires", "Requires.private", "Requires.internal"]
            .iter()
            .any(|field| name.eq_ignore_ascii_case(field))
        {
            found.extend(modules(&expand(value, &variables, 0)));
        }
    }
    found
}

fn expand(text: &str, variables: &BTreeMap<String, String>, depth: usize) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, tail) = rest.split_at(start);
        expanded.push_str(before);
        let Some((name, after)) = tail.get(2..).and_then(|tail| tail.split_once('}')) else {
            expanded.push_str(tail);
            return expanded;
        };
        if depth < MAX_DEPTH && expanded.len() < MAX_LENGTH {
            let value = variables.get(name).map_or("", String::as_str);
            expanded.push_str(&expand(value, variables, depth + 1));
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

/// The names in `a >= 1, b c<2`.
fn modules(text: &str) -> Vec<String> {
    let operator = |letter: char| matches!(letter, '<' | '>' | '=' | '!');
    let mut spaced = String::new();
    let mut previous = ' ';
    for letter in text.chars() {
        let letter = if letter == ',' { ' ' } else { letter };
        if operator(letter) != operator(previous) {
            spaced.push(' ');
        }
        spaced.push(letter);
        previous = letter;
    }
    let mut names = Vec::new();
    let mut words = spaced.split_whitespace();
    while let Some(word) = words.next() {
        if word.starts_with(operator) {
            words.next();
        } else {
            names.push(word.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::requirements;

    #[test]
    fn names_without_versions() {
        let text = "prefix=/usr\nabi = 2.0\nName: x\nDescription: a, b\n\
            Requires: glib-${abi} >= 2.50, gobject-2.0 zlib>=1.2\n\
            Requires.private: libffi = 3, \\\n  pcre2 != 10.1\n\
            Requires.internal: inner\nLibs: -L${libdir} -lx\nConflicts: foo\n# Requires: no\n";
        assert_eq!(
            requirements(text),
            [
                "glib-2.0",
                "gobject-2.0",
                "zlib",
                "libffi",
                "pcre2",
                "inner"
            ]
        );
        assert!(requirements("Requires:\n").is_empty());
        assert_eq!(requirements("Requires: ${a} x ${"), ["x", "${"]);
    }

    #[test]
    fn variables_that_blow_up_stop() {
        let mut text = String::from("a0=xxxxxxxxxxxxxxxx\n");
        for level in 1..40 {
            let before = level - 1;
            text.push_str(&format!("a{level}=${{a{before}}}${{a{before}}}\n"));
        }
        text.push_str("Requires: ${a39}\n");
        let length: usize = requirements(&text).iter().map(String::len).sum();
        assert!(length < 1 << 20, "{length}");
    }
}
