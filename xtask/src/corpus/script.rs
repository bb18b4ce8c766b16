//! Shell scripts without what a printer changes: comments, layout, the spelling of substitutions.

/// What the reader is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Commands, in so many parentheses of their own.
    Commands(usize),
    /// Double quotes.
    Quotes,
    /// `${…}`, in so many braces of their own.
    Braces(usize),
    /// `$((…))`, in so many parentheses, those two included.
    Arithmetic(usize),
}

/// A here-document whose body is still to come.
struct HereDocument {
    delimiter: String,
    /// `<<-`: leading tabs don't count.
    stripped: bool,
    /// No quotes in the delimiter: commands in the body are carried out.
    live: bool,
}

struct Reader<'s> {
    rest: &'s str,
    out: String,
    inside: Vec<Inside>,
    /// Whether space is due before the next word.
    space: bool,
    awaited: Vec<HereDocument>,
}

/// The script without comments, every run of spaces, newlines and semicolons one space, none beside
/// operators. Quoted text and here-documents stay as they are.
pub(crate) fn canonical(script: &str) -> String {
    let mut reader = Reader {
        rest: script,
        out: String::with_capacity(script.len()),
        inside: vec![Inside::Commands(0)],
        space: false,
        awaited: Vec::new(),
    };
    while !reader.rest.is_empty() {
        reader.next();
    }
    reader.out
}

fn is_operator(character: char) -> bool {
    matches!(character, '<' | '>' | '|' | '&' | '(' | ')')
}

impl<'s> Reader<'s> {
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn put(&mut self, text: &str) {
        if self.space {
            let before = self.out.chars().next_back();
            let after = text.chars().next();
            let beside = |side: Option<char>| side.is_none_or(is_operator);
            if !beside(before) && !beside(after) && before != Some('\n') {
                self.out.push(' ');
            }
            self.space = false;
        }
        self.out.push_str(text);
    }

    /// Everything up to and with `end`, or all that is left.
    fn take_through(&mut self, end: char) -> &'s str {
        let bytes = self
            .rest
            .find(end)
            .map_or(self.rest.len(), |at| at + end.len_utf8());
        self.take(bytes)
    }

    fn next(&mut self) {
        let Some(character) = self.rest.chars().next() else {
            return;
        };
        let inside = self.inside.last().copied().unwrap_or(Inside::Commands(0));
        let rest = self.rest;
        if let Some(after) = rest.strip_prefix("\\\n") {
            self.take(2);
            self.space |= inside != Inside::Quotes && after.starts_with([' ', '\t']);
            return;
        }
        if character == '\\' {
            let length = rest.chars().take(2).map(char::len_utf8).sum();
            let taken = self.take(length);
            return self.put(taken);
        }
        if rest.starts_with("$((") {
            let taken = self.take(3);
            self.put(taken);
            return self.inside.push(Inside::Arithmetic(2));
        }
        if rest.starts_with("$(") {
            let taken = self.take(2);
            self.put(taken);
            return self.inside.push(Inside::Commands(0));
        }
        if rest.starts_with("${") {
            let taken = self.take(2);
            self.put(taken);
            return self.inside.push(Inside::Braces(0));
        }
        if character == '`' {
            return self.backquotes();
        }
        match inside {
            Inside::Quotes => {
                if character == '"' {
                    self.inside.pop();
                }
                let taken = self.take(character.len_utf8());
                self.put(taken);
            }
            Inside::Braces(depth) => self.brace(character, depth),
            Inside::Arithmetic(depth) => self.arithmetic(character, depth),
            Inside::Commands(depth) => self.command(character, depth),
        }
    }

    fn backquotes(&mut self) {
        self.take(1);
        let mut inner = String::new();
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '`' => {
                    end = at + 1;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('`' | '\\' | '$'))) => inner.push(escaped),
                    Some((_, other)) => inner.extend(['\\', other]),
                    None => inner.push('\\'),
                },
                other => inner.push(other),
            }
        }
        self.take(end);
        let inner = canonical(&inner);
        self.put(&format!("$({inner})"));
    }

    fn quoted(&mut self, quote: char) {
        let opening = self.take(1);
        self.put(opening);
        if quote == '"' {
            self.inside.push(Inside::Quotes);
        } else {
            let text = self.take_through('\'');
            self.put(text);
        }
    }

    fn brace(&mut self, character: char, depth: usize) {
        let change = match character {
            '"' => return self.quoted('"'),
            '\'' if self.inside.iter().rev().nth(1) != Some(&Inside::Quotes) => {
                return self.quoted('\'');
            }
            '{' => Some(depth + 1),
            '}' if depth > 0 => Some(depth - 1),
            '}' => None,
            _ => Some(depth),
        };
        self.inside.pop();
        self.inside.extend(change.map(Inside::Braces));
        let taken = self.take(character.len_utf8());
        // A pattern replaced by nothing ends with a slash or without.
        if character == '}' && self.out.ends_with('/') {
            self.out.pop();
        }
        self.put(taken);
    }

    fn arithmetic(&mut self, character: char, depth: usize) {
        let taken = self.take(character.len_utf8());
        if character.is_whitespace() {
            return;
        }
        self.inside.pop();
        match character {
            '(' => self.inside.push(Inside::Arithmetic(depth + 1)),
            ')' if depth == 1 => {}
            ')' => self.inside.push(Inside::Arithmetic(depth - 1)),
            _ => self.inside.push(Inside::Arithmetic(depth)),
        }
        self.put(taken);
    }

    fn command(&mut self, character: char, depth: usize) {
        match character {
            '"' | '\'' => return self.quoted(character),
            '\n' => {
                self.take(1);
                self.space = true;
                for document in std::mem::take(&mut self.awaited) {
                    self.here_document(&document);
                }
                return;
            }
            ' ' | '\t' | ';' | '\r' => {
                self.take(1);
                self.space = true;
                return;
            }
            '#' if self.space || self.out.chars().next_back().is_none_or(is_operator) => {
                let bytes = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(bytes);
                return;
            }
            '<' if self.rest.starts_with("<<<") => {
                let taken = self.take(3);
                return self.put(taken);
            }
            '<' if self.rest.starts_with("<<") => {
                return self.here_document_starts();
            }
            '(' => {
                self.inside.pop();
                self.inside.push(Inside::Commands(depth + 1));
            }
            ')' if depth > 0 => {
                self.inside.pop();
                self.inside.push(Inside::Commands(depth - 1));
            }
            ')' if self.inside.len() > 1 => {
                self.inside.pop();
                self.space = false;
            }
            _ => {}
        }
        let taken = self.take(character.len_utf8());
        self.put(taken);
    }

    fn here_document_starts(&mut self) {
        let stripped = self.rest.starts_with("<<-");
        let operator = self.take(if stripped { 3 } else { 2 });
        self.put(operator);
        let word = self.rest.trim_start_matches([' ', '\t']);
        let spaces = self.rest.len() - word.len();
        self.take(spaces);
        let length = word
            .find(|character: char| {
                character.is_whitespace() || is_operator(character) || character == ';'
            })
            .unwrap_or(word.len());
        let word = self.take(length);
        self.put(word);
        self.awaited.push(HereDocument {
            delimiter: word.replace(['\'', '"', '\\'], ""),
            live: !word.contains(['\'', '"', '\\']),
            stripped,
        });
    }

    fn here_document(&mut self, document: &HereDocument) {
        self.out.push('\n');
        let start = self.out.len();
        while !self.rest.is_empty() {
            let line = self.take_through('\n').trim_end_matches('\n');
            let line = if document.stripped {
                line.trim_start_matches('\t')
            } else {
                line
            };
            self.out.push_str(line);
            self.out.push('\n');
            if line == document.delimiter {
                break;
            }
        }
        if document.live {
            let body = self.out.split_off(start);
            let mut parts = body.split('`');
            self.out.extend(parts.next());
            while let (Some(command), Some(after)) = (parts.next(), parts.next()) {
                self.out.push_str(&format!("$({})", canonical(command)));
                self.out.push_str(after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn layout_and_comments_make_no_difference() {
        for (left, right) in [
            ("a; b", "a\nb\n"),
            ("if x; then y; fi # why", "if x; then\n\ty\nfi"),
            ("make \\\n  -j2 > log", "make -j2 >log"),
            ("x=`a \\`b\\``", "x=$(a $(b))"),
            ("# only\n\na", "a"),
            ("f () { a; }", "f() {\n\ta\n}"),
            ("a | # first\n b", "a |\n\tb"),
            ("x=$( a b )", "x=$(a b)"),
            ("x=\"$((a+(b<<2)))\"; y", "x=\"$((a + (b << 2)))\"\ny"),
            ("x=${a/b}", "x=${a/b/}"),
            ("cat <<E\na `b` c\nE\n", "cat <<E\na $(b) c\nE\n"),
        ] {
            assert_eq!(canonical(left), canonical(right), "{left}");
        }
    }

    #[test]
    fn words_quotes_and_documents_stay() {
        for (left, right) in [
            ("a b", "ab"),
            ("echo 'a  b'", "echo 'a b'"),
            ("echo \"a # b\"", "echo \"a \""),
            ("echo ${a#b}", "echo ${a"),
            ("echo a#b", "echo a"),
            ("cat <<E\na # b\nE\nx", "cat <<E\na\nE\nx"),
            ("cat <<E\n a\nE\n", "cat <<E\na\nE\n"),
            ("echo \"$(a '# x')\"", "echo \"$(a '')\""),
        ] {
            assert_ne!(canonical(left), canonical(right), "{left}");
        }
        assert_eq!(
            canonical("cat <<-'E' > f # c\n\t\ta\n\tE\nb"),
            "cat<<-'E'>f\na\nE\nb"
        );
    }
}
