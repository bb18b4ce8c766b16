//! Debian's control format (deb822(5)): paragraphs of `Field: value` lines.

/// One paragraph: fields in their order, names as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paragraph<'t> {
    fields: Vec<(&'t str, &'t str)>,
}

impl<'t> Paragraph<'t> {
    /// The value of the field `name` (case does not matter), without the white space around it.
    /// Lines after the first keep their newline and their leading space.
    pub fn get(&self, name: &str) -> Option<&'t str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// All fields in order.
    pub fn fields(&self) -> &[(&'t str, &'t str)] {
        &self.fields
    }
}

/// The paragraphs of a text. Comment lines begin with `#`; lines without a colon are skipped.
#[derive(Clone, Debug)]
pub struct Paragraphs<'t> {
    rest: &'t str,
}

impl<'t> Paragraphs<'t> {
    /// Reads `text` from its beginning.
    pub fn of(text: &'t str) -> Paragraphs<'t> {
        Paragraphs { rest: text }
    }
}

impl<'t> Iterator for Paragraphs<'t> {
    type Item = Paragraph<'t>;

    fn next(&mut self) -> Option<Paragraph<'t>> {
        let mut paragraph = Paragraph::default();
        // The field being read: its name and where its value begins, as bytes of `rest`.
        let mut open: Option<(&'t str, usize)> = None;
        let mut at = 0;
        let whole = self.rest;
        loop {
            let line_end = whole[at..].find('\n').map_or(whole.len(), |end| at + end);
            let line = &whole[at..line_end];
            let blank = line.trim().is_empty();
            let continues = line.starts_with([' ', '\t']) && !blank;
            let comment = line.starts_with('#');
            if !continues && !comment {
                if let Some((name, from)) = open.take() {
                    paragraph.fields.push((name, whole[from..at].trim()));
                }
                if let Some((name, value)) = line.split_once(':') {
                    let value_at = at + line.len() - value.len();
                    open = Some((name.trim_end(), value_at));
                }
            } else if comment && let Some((name, from)) = open.take() {
                // A comment inside a value ends it; what continues after it is lost to nobody.
                paragraph.fields.push((name, whole[from..at].trim()));
            }
            let at_end = line_end == whole.len();
            at = (line_end + 1).min(whole.len());
            if at_end {
                if let Some((name, from)) = open.take() {
                    paragraph.fields.push((name, whole[from..].trim()));
                }
                self.rest = "";
                return (!paragraph.fields.is_empty()).then_some(paragraph);
            }
            if blank && !paragraph.fields.is_empty() {
                self.rest = &whole[at..];
                return Some(paragraph);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs() {
        let text =
            "\n# head\nPackage: a\nDepends: b (>= 1),\n c\nEmpty:\n\n\nPackage: d\n# note\nX:y";
        let all: Vec<Paragraph<'_>> = Paragraphs::of(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].fields(),
            [
                ("Package", "a"),
                ("Depends", "b (>= 1),\n c"),
                ("Empty", "")
            ]
        );
        assert_eq!(all[1].get("package"), Some("d"));
        assert_eq!(all[1].get("x"), Some("y"));
        assert_eq!(Paragraphs::of("").next(), None);
        assert_eq!(Paragraphs::of("\n \n").next(), None);
    }
}
