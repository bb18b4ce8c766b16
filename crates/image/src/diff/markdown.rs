//! Differences for a pull request: GitHub's Markdown, short, the details folded away.
//!
//! Names of foreign images are in it. Each stands in a code span that it can't leave, so it can't
//! be a link, a mention, an image or a tag.

use std::fmt::Write as _;

use super::model::{Differences, ImageDifferences, Pair};
use super::text::{self, Extent};
use crate::verify::plain;

/// GitHub takes comments of 65,536 characters.
const MOST: usize = 60_000;

impl Differences {
    /// The differences as Markdown, nothing if there are none; so many items of a part are listed
    /// that it fits into a comment.
    pub fn to_markdown(&self) -> String {
        if self.equal && self.broken.is_empty() {
            return String::new();
        }
        let mut out = String::new();
        for listed in [500, 200, 50, 10, 3, 0] {
            out = self.markdown(listed);
            if out.len() <= MOST {
                break;
            }
        }
        out
    }

    fn markdown(&self, listed: usize) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "### {} → {}\n",
            code(&self.before.name),
            code(&self.after.name)
        );
        if !self.broken.is_empty() {
            let rules = match self.broken.len() {
                1 => "A rule is broken".to_owned(),
                count => format!("{count} rules are broken"),
            };
            let _ = writeln!(out, "> [!CAUTION]\n> **{rules}**\n>");
            for broken in &self.broken {
                let platform = broken.platform.as_deref().filter(|_| self.images.len() > 1);
                let platform = platform.map(|platform| format!(" ({})", code(platform)));
                let _ = writeln!(
                    out,
                    "> - **{}**{}",
                    broken.rule,
                    platform.unwrap_or_default()
                );
                let most = listed.min(10);
                for reason in broken.reasons.iter().take(most) {
                    let _ = writeln!(out, ">   - {}", code(reason));
                }
                let more = broken.reasons.len().saturating_sub(most) + broken.omitted;
                if more > 0 {
                    let _ = writeln!(out, ">   - … and {more} more");
                }
            }
            out.push('\n');
        }
        for (word, platforms) in [
            ("Gone", &self.platforms.removed),
            ("New", &self.platforms.added),
        ] {
            if !platforms.is_empty() {
                let names: Vec<String> = platforms.iter().map(|name| code(name)).collect();
                let _ = writeln!(out, "{word}: {}\n", names.join(", "));
            }
        }
        let differing: Vec<&ImageDifferences> = self
            .images
            .iter()
            .filter(|image| !image.is_empty())
            .collect();
        if !differing.is_empty() {
            out.push_str("| | packages | files | as sent | unpacked | rights | libraries |\n");
            out.push_str("|---|---|---|---|---|---|---|\n");
        }
        for image in &differing {
            let _ = writeln!(out, "{}", row(image));
        }
        if !differing.is_empty() {
            out.push('\n');
        }
        for image in &differing {
            details(&mut out, image, self.images.len() > 1, listed);
        }
        let index: Vec<String> = self.annotations.iter().map(text::setting).collect();
        fold(&mut out, "annotations of the index", &index, listed);
        fold(
            &mut out,
            "what refers to the index",
            &text::referring(&self.statements),
            listed,
        );
        let _ = writeln!(
            out,
            "<sub>{} → {}</sub>",
            self.before.digest, self.after.digest
        );
        out
    }
}

fn row(image: &ImageDifferences) -> String {
    let counts = |words: &[(usize, &str)]| -> String {
        let counted: Vec<String> = words
            .iter()
            .filter_map(|(count, word)| text::counted(*count, word))
            .collect();
        match counted.is_empty() {
            true => "–".to_owned(),
            false => counted.join(", "),
        }
    };
    let packages = text::package_title(image);
    let packages = packages.split_once(": ").map_or("", |(_, counts)| counts);
    let packages = if packages.is_empty() { "–" } else { packages };
    let files = &image.files;
    let gained = image.privileges.iter().filter(|one| one.gained).count();
    let lost = image.privileges.len() - gained;
    let breaking = image.libraries.iter().filter(|one| one.may_break()).count();
    let others = image.libraries.len() - breaking;
    let grown = |pair: Pair<u64>| match pair.is_same() {
        true => text::bytes(pair.after),
        false => text::growth(pair),
    };
    format!(
        "| {} | {packages} | {} | {} | {} | {} | {} |",
        code(&image.platform),
        counts(&[
            (files.added, "added"),
            (files.removed, "removed"),
            (files.changed, "changed")
        ]),
        grown(image.size.compressed),
        grown(image.size.unpacked),
        counts(&[(gained, "gained"), (lost, "lost")]),
        counts(&[(breaking, "may break"), (others, "changed")]),
    )
}

fn details(out: &mut String, image: &ImageDifferences, several: bool, listed: usize) {
    for (title, lines) in text::parts(image, Extent { all: true }) {
        let title = match several {
            true => format!("{}: {title}", image.platform),
            false => title,
        };
        fold(out, &title, &lines, listed);
    }
}

/// A part that is folded away.
fn fold(out: &mut String, title: &str, lines: &[String], listed: usize) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "<details><summary>{}</summary>\n", escaped(title));
    for line in lines.iter().take(listed) {
        let _ = writeln!(out, "- {}", code(line.trim_start()));
    }
    let more = lines.len().saturating_sub(listed);
    if more > 0 {
        let _ = writeln!(out, "- … and {more} more");
    }
    out.push_str("\n</details>\n\n");
}

/// Text as HTML has it.
fn escaped(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A code span: between more backticks than the text has in a row, in one line. A bar would end a
/// cell of a table.
fn code(text: &str) -> String {
    const LONG: usize = 400;
    let mut text: String = plain(text).chars().take(LONG + 1).collect();
    if text.chars().count() > LONG {
        text.pop();
        text.push('…');
    }
    let text = text.replace('|', "¦");
    let (mut longest, mut run) = (0, 0);
    for character in text.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    // A span that begins or ends with a backtick has a space there.
    let space = if text.starts_with('`') || text.ends_with('`') || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_leave_their_span() {
        let shown = [
            code("/usr/bin/su"),
            code("a`b``c"),
            code("`x`"),
            code("a\nb | <img src=x> @everyone"),
            code(""),
            escaped("<b>&\u{202e}"),
        ];
        insta::assert_snapshot!(shown.join("\n"), @r"
        `/usr/bin/su`
        ```a`b``c```
        `` `x` ``
        `a\nb ¦ <img src=x> @everyone`
        `  `
        &lt;b&gt;&amp;\u{202e}
        ");
    }
}
