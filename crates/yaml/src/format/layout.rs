//! Lines set anew: their indentation, the spaces within and the empty lines between.

use std::collections::BTreeMap;

use super::path::Part;
use super::{Style, walk};
use crate::tree::{Document, Value};

/// The text of `document` laid out, or the byte from which on that can't be done.
pub(super) fn lay_out(document: &Document, style: &Style) -> Result<String, usize> {
    let mut keys = BTreeMap::new();
    let mut leaves = BTreeMap::new();
    walk(&document.root, &mut Vec::new(), &mut |node, _| {
        match &node.value {
            Value::Mapping(entries) => {
                for entry in entries {
                    keys.insert(
                        entry.key_span.start,
                        (entry.key_span.end, entry.key.as_str()),
                    );
                }
                if document.source.text()[node.span.clone()].starts_with('{') {
                    leaves.insert(node.span.start, (node.span.end, None));
                }
            }
            Value::Sequence(_) if document.source.text()[node.span.clone()].starts_with('[') => {
                leaves.insert(node.span.start, (node.span.end, None));
            }
            Value::Scalar(scalar) if scalar.plain => {
                leaves.insert(node.span.start, (node.span.end, Some(scalar.text.as_str())));
            }
            // Nothing has no place of its own.
            Value::Null if node.span.is_empty() => {}
            Value::Sequence(_) => {}
            Value::Null | Value::Scalar(_) => {
                leaves.insert(node.span.start, (node.span.end, None));
            }
        }
    });
    let mut layout = Layout {
        text: document.source.text(),
        keys,
        leaves,
        style,
        out: String::with_capacity(document.source.text().len()),
        levels: Vec::new(),
        comments: Vec::new(),
        blank: false,
        kept: false,
        joinable: false,
    };
    layout.run()?;
    Ok(layout.out)
}

/// A block collection that is open.
#[derive(Clone, Copy)]
struct Level<'d> {
    /// Its column in the source.
    source: usize,
    /// Its column from now on.
    target: usize,
    /// The entry that stands open.
    part: Part<'d>,
}

impl Level<'_> {
    fn is_sequence(&self) -> bool {
        matches!(self.part, Part::Index(_))
    }
}

/// A comment that has a line of its own and waits for what follows it.
struct Comment<'d> {
    text: &'d str,
    column: usize,
    /// Whether an empty line stood before it.
    blank: bool,
}

struct Layout<'d> {
    text: &'d str,
    /// Where keys begin: where they end, and their texts.
    keys: BTreeMap<usize, (usize, &'d str)>,
    /// Where scalars and flow collections begin: where they end, and the text of plain ones.
    leaves: BTreeMap<usize, (usize, Option<&'d str>)>,
    style: &'d Style,
    out: String,
    levels: Vec<Level<'d>>,
    comments: Vec<Comment<'d>>,
    /// Whether an empty line stood before the line at hand.
    blank: bool,
    /// Whether a block ended whose trailing lines count.
    kept: bool,
    /// Whether the last line ends with a key or dash whose value may stand behind it.
    joinable: bool,
}

impl<'d> Layout<'d> {
    fn run(&mut self) -> Result<(), usize> {
        let mut at = 0;
        while at < self.text.len() {
            let end = self.line_end(at);
            let line = self.text[at..end].trim_end_matches([' ', '\t', '\r']);
            let content = line.trim_start_matches(' ');
            let column = line.len() - content.len();
            if content.is_empty() {
                self.blank = true;
                at = end + 1;
            } else if content.starts_with('#') {
                self.comments.push(Comment {
                    text: content,
                    column,
                    blank: std::mem::take(&mut self.blank),
                });
                at = end + 1;
            } else if column == 0 && content == "---" && self.levels.is_empty() {
                at = end + 1;
            } else if content.starts_with('\t')
                || content.starts_with("? ")
                || content == "?"
                || column == 0
                    && ["---", "...", "%"]
                        .iter()
                        .any(|mark| content.starts_with(mark))
            {
                return Err(at);
            } else {
                at = self.line(at, column, at + line.len())?;
            }
        }
        self.end();
        Ok(())
    }

    fn line_end(&self, at: usize) -> usize {
        self.text[at..]
            .find('\n')
            .map_or(self.text.len(), |newline| at + newline)
    }

    /// A line that has dashes, a key or a value; gives the start of the next line.
    fn line(&mut self, at: usize, column: usize, line_end: usize) -> Result<usize, usize> {
        let mut dashes = Vec::new();
        let mut position = at + column;
        while let Some(behind) = self.text[position..line_end].strip_prefix('-')
            && (behind.is_empty() || behind.starts_with([' ', '\t']))
        {
            dashes.push(position - at);
            let blanks = behind.len() - behind.trim_start_matches([' ', '\t']).len();
            position += 1 + blanks;
        }
        let key = self.key_at(position, line_end);
        if dashes.is_empty() && key.is_none() {
            return self.lone_value(position, line_end);
        }
        // What the line belongs to is found before what was open is closed: comments need both.
        let before = self.levels.clone();
        let mut entry: Option<(usize, bool)> = None;
        for dash in &dashes {
            while self.levels.last().is_some_and(|level| level.source > *dash) {
                self.levels.pop();
            }
            let is_next = match self.levels.last_mut() {
                Some(level) if level.source == *dash && level.is_sequence() => {
                    if let Part::Index(index) = &mut level.part {
                        *index += 1;
                    }
                    true
                }
                _ => false,
            };
            if !is_next {
                self.open(*dash, Part::Index(0));
            }
            entry.get_or_insert((self.levels.len() - 1, !is_next));
        }
        if let Some((_, _, name)) = key {
            let column = position - at;
            while self.levels.last().is_some_and(|level| {
                level.source > column || level.source == column && level.is_sequence()
            }) {
                self.levels.pop();
            }
            let is_next = match self.levels.last_mut() {
                Some(level) if level.source == column => {
                    level.part = Part::Key(name);
                    true
                }
                _ => false,
            };
            if !is_next {
                self.open(column, Part::Key(name));
            }
            entry.get_or_insert((self.levels.len() - 1, !is_next));
        }
        let (level, is_first) = entry.unwrap_or((0, true));
        let target = self.levels.get(level).map_or(0, |level| level.target);
        let joins =
            self.joinable && is_first && self.comments.is_empty() && self.out.ends_with("-\n");
        if joins {
            self.out.pop();
            self.out.push(' ');
            self.blank = false;
        } else {
            self.flush(&before, level, is_first);
            self.indent(target);
        }
        for (place, _) in dashes.iter().enumerate() {
            self.out.push('-');
            if position < line_end || place + 1 < dashes.len() {
                self.out.push(' ');
            }
        }
        match key {
            Some((start, end, _)) => {
                let colon = self.text[end..line_end].find(':').ok_or(at)? + end;
                if !self.text[end..colon].trim().is_empty() {
                    return Err(at);
                }
                self.out.push_str(&self.text[position..start]);
                self.out.push_str(&self.text[start..end]);
                self.out.push(':');
                let rest = &self.text[colon + 1..line_end];
                let value = line_end - rest.trim_start_matches([' ', '\t']).len();
                if value < line_end {
                    self.out.push(' ');
                }
                self.value(value, line_end)
            }
            None => self.value(position, line_end),
        }
    }

    /// The key that begins at `position` or behind its anchor or tag: its start, end and text.
    fn key_at(&self, position: usize, line_end: usize) -> Option<(usize, usize, &'d str)> {
        let start = self.behind_properties(position, line_end);
        if let Some((end, name)) = self.keys.get(&start) {
            let is_short = *end <= line_end;
            return is_short.then_some((start, *end, *name));
        }
        // The key of a merge is no key of the tree.
        let behind = self.text[start..line_end].strip_prefix("<<")?;
        behind
            .trim_start()
            .starts_with(':')
            .then_some((start, start + 2, "<<"))
    }

    fn behind_properties(&self, position: usize, line_end: usize) -> usize {
        let mut at = position;
        while let Some(rest) = self.text.get(at..line_end)
            && rest.starts_with(['&', '!'])
            && let Some(blank) = rest.find([' ', '\t'])
        {
            let behind = &rest[blank..];
            at += blank + behind.len() - behind.trim_start_matches([' ', '\t']).len();
        }
        at
    }

    fn open(&mut self, source: usize, part: Part<'d>) {
        let target = match self.levels.last() {
            None => 0,
            // Behind a dash there is one space, however deep a level is.
            Some(level) if level.is_sequence() => level.target + 2,
            Some(level) => level.target + self.style.indent,
        };
        self.levels.push(Level {
            source,
            target,
            part,
        });
    }

    /// Where values of what is open stand when they have lines of their own.
    fn inner(&self) -> usize {
        match self.levels.last() {
            None => 0,
            Some(level) => level.target + self.style.indent,
        }
    }

    /// A value on a line of its own, behind a key or a dash.
    fn lone_value(&mut self, position: usize, line_end: usize) -> Result<usize, usize> {
        if self.joinable && self.comments.is_empty() {
            self.out.pop();
            self.out.push(' ');
        } else {
            let target = self.inner();
            for comment in std::mem::take(&mut self.comments) {
                self.comment(&comment, target);
            }
            self.indent(target);
        }
        self.blank = false;
        self.value(position, line_end)
    }

    /// The rest of a line from a value on; gives the start of the next line that is not part of it.
    fn value(&mut self, position: usize, line_end: usize) -> Result<usize, usize> {
        self.joinable = position >= line_end;
        let start = self.behind_properties(position, line_end);
        let first = self.text[start..line_end].chars().next();
        if matches!(first, Some('|' | '>')) {
            return self.block(position, start, line_end);
        }
        if position >= line_end || first == Some('#') {
            self.out.push_str(&self.text[position..line_end]);
            self.out.push('\n');
            return Ok(line_end.max(self.line_end(line_end)) + 1);
        }
        let Some((end, plain)) = self.leaves.get(&start).copied() else {
            self.out.push_str(&self.text[position..line_end]);
            self.out.push('\n');
            // An anchor or a tag alone, with its value below.
            self.joinable = false;
            return Ok(self.line_end(line_end) + 1);
        };
        let mut last_line_end = line_end;
        if end <= line_end {
            self.out.push_str(&self.text[position..end.max(position)]);
        } else {
            last_line_end = self.line_end(end);
            self.lines(position, start, end, plain);
        }
        let behind = self.text[end.max(position)..last_line_end].trim();
        if !behind.is_empty() {
            self.out.push(' ');
            self.out.push_str(behind);
        }
        self.out.push('\n');
        Ok(last_line_end + 1)
    }

    /// A value of several lines that is no block.
    fn lines(&mut self, position: usize, start: usize, end: usize, plain: Option<&str>) {
        let written = &self.text[start..end];
        self.out.push_str(&self.text[position..start]);
        if let Some(text) = plain.filter(|text| !text.contains('\n')) {
            self.out.push_str(text);
            return;
        }
        let is_flow = written.starts_with(['[', '{']);
        let inner = self.inner();
        let (from, to) = self
            .levels
            .last()
            .map_or((0, 0), |level| (level.source, level.target));
        for (number, line) in written.split('\n').enumerate() {
            if number == 0 {
                self.out.push_str(line.trim_end());
                continue;
            }
            self.out.push('\n');
            let content = line.trim();
            if content.is_empty() {
                continue;
            }
            let column = line.len() - line.trim_start().len();
            let target = if is_flow {
                (column + to).saturating_sub(from)
            } else {
                inner
            };
            self.indent(target);
            self.out.push_str(content);
        }
    }

    /// A block scalar whose properties begin at `position` and whose header at `start`.
    fn block(&mut self, position: usize, start: usize, line_end: usize) -> Result<usize, usize> {
        let level = *self.levels.last().ok_or(start)?;
        let header = &self.text[start..line_end];
        let marks_end = header.find([' ', '\t']).unwrap_or(header.len());
        let (marks, comment) = header.split_at(marks_end);
        let digit = marks.chars().find_map(|mark| mark.to_digit(10));
        let keeps = marks.contains('+');
        let mut at = self.line_end(line_end) + 1;
        let mut column = digit.map(|digit| level.source + digit as usize);
        let mut lines: Vec<&str> = Vec::new();
        while at < self.text.len() {
            let end = self.line_end(at);
            let line = &self.text[at..end];
            let depth = line.len() - line.trim_start_matches(' ').len();
            if depth < line.len() {
                let deep = match column {
                    Some(column) => depth >= column,
                    None => depth > level.source,
                };
                if !deep {
                    break;
                }
                column.get_or_insert(depth);
            }
            lines.push(line);
            at = end + 1;
        }
        let column = column.unwrap_or(level.source + 1);
        let ends_file =
            at > self.text.len() && lines.last().is_some_and(|line| line.len() > column);
        self.out.push_str(&self.text[position..start]);
        if ends_file && !marks.contains('-') {
            // Without a newline at the end there was none in the text, either.
            self.out.push_str(&marks.replace('+', ""));
            self.out.push('-');
        } else {
            self.out.push_str(marks);
        }
        self.out.push_str(comment);
        self.out.push('\n');
        if !keeps {
            while lines
                .last()
                .is_some_and(|line| line.len() <= column && line.trim_start_matches(' ').is_empty())
            {
                lines.pop();
                self.blank = true;
            }
        }
        let target = match digit {
            Some(digit) => level.target + digit as usize,
            None => self.inner(),
        };
        let is_folded = marks.starts_with('>') && !marks.contains('-') && !keeps && !ends_file;
        let has_text = !lines.is_empty();
        for line in lines {
            let content = line.get(column..).unwrap_or_default();
            if !content.is_empty() {
                self.indent(target);
                self.out.push_str(content);
            }
            self.out.push('\n');
        }
        if is_folded && has_text {
            // As Go's YAML library, which most formatters of recipes use, has it.
            self.out.push('\n');
        }
        self.kept = keeps;
        Ok(at)
    }

    fn indent(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    fn comment(&mut self, comment: &Comment<'_>, target: usize) {
        self.indent(target);
        self.out.push_str(comment.text);
        self.out.push('\n');
    }

    /// Whether the entries of `levels[place]` have empty lines between them.
    fn has_gaps(&self, levels: &[Level<'d>], place: usize) -> bool {
        let path: Vec<Part<'_>> = levels.iter().take(place).map(|level| level.part).collect();
        self.style.gaps.iter().any(|gap| gap.matches(&path))
    }

    /// Writes the comments before an entry, and the empty lines around them. `before` is what was
    /// open before the entry, `place` the level the entry belongs to.
    fn flush(&mut self, before: &[Level<'d>], place: usize, is_first: bool) {
        let entry = self.levels[place];
        let kept = std::mem::take(&mut self.kept);
        let gap = !is_first && !kept && self.has_gaps(&self.levels, place);
        let comments = std::mem::take(&mut self.comments);
        let blank_before_entry = std::mem::take(&mut self.blank);
        let starts_file = self.out.is_empty();
        // Comments deeper than the entry belong to what stands above it.
        let homes: Vec<Option<usize>> = comments
            .iter()
            .map(|comment| {
                let is_deeper = !is_first && comment.column > entry.source;
                let home = before
                    .iter()
                    .rposition(|level| level.source <= comment.column)?;
                (is_deeper && home > place).then_some(home)
            })
            .collect();
        let own = homes
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        let count = comments.len();
        let mut blanks = vec![false; count + 1];
        for (number, comment) in comments.iter().enumerate() {
            blanks[number] = comment.blank
                && match (number, homes[number]) {
                    (0, _) if starts_file || kept => false,
                    (0, Some(home)) => self.has_gaps(before, home),
                    (0, None) => gap,
                    _ => true,
                };
        }
        blanks[count] = count > 0 && blank_before_entry && (gap || starts_file);
        if gap && !blanks[own..].contains(&true) {
            blanks[own] = true;
        }
        for (number, comment) in comments.iter().enumerate() {
            if blanks[number] {
                self.out.push('\n');
            }
            let target = homes[number].map_or(entry.target, |home| before[home].target);
            self.comment(comment, target);
        }
        if blanks[count] {
            self.out.push('\n');
        }
    }

    /// Writes the comments behind everything.
    fn end(&mut self) {
        let levels = std::mem::take(&mut self.levels);
        for (number, comment) in std::mem::take(&mut self.comments).iter().enumerate() {
            let home = levels
                .iter()
                .rposition(|level| level.source <= comment.column);
            let has_gaps = home.is_some_and(|home| self.has_gaps(&levels, home));
            if comment.blank && !self.out.is_empty() && (number > 0 || has_gaps && !self.kept) {
                self.out.push('\n');
            }
            let target = home.map_or(0, |home| levels[home].target);
            self.comment(comment, target);
        }
    }
}
