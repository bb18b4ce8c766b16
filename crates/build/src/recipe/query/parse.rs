//! From a template's text to its parts.

use std::ops::Range;

use super::Failure;

/// How deep blocks and parentheses may nest.
const DEPTH_LIMIT: usize = 64;

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// What is printed as it stands.
    Text(String),
    /// An expression whose value is printed, or given to variables.
    Action(Pipeline),
    /// `if` and `with`, and what follows `else`.
    If {
        pipeline: Pipeline,
        /// `with`: the dot is the value inside.
        rebinds: bool,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `range`.
    Range {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `break` of a `range`.
    Break,
    /// `continue` of a `range`.
    Continue,
}

/// Commands, each getting the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// Variables that get the value: one, or two of a `range`.
    pub(super) variables: Vec<String>,
    /// Whether they are new ones (`:=`).
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
    pub(super) span: Range<usize>,
}

/// A word of a command: what it begins with, and the fields behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    pub(super) root: Root,
    pub(super) fields: Vec<(String, Range<usize>)>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Dot,
    /// Without its dollar; the empty one is the whole recipe.
    Variable(String),
    Function(String),
    Text(String),
    Integer(i64),
    Bool(bool),
    Nil,
    Parentheses(Box<Pipeline>),
}

/// A piece of the template before blocks are put together.
struct Piece<'t> {
    text: &'t str,
    /// Where the text begins.
    at: usize,
    is_action: bool,
}

/// Splits text from `{{ … }}`, trim marks applied, comments dropped.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, Failure> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trims = false;
    loop {
        let rest = &template[at..];
        let open = rest.find("{{");
        let mut text = &rest[..open.unwrap_or(rest.len())];
        let mut start = at;
        if trims {
            let trimmed = text.trim_start();
            start += text.len() - trimmed.len();
            text = trimmed;
        }
        let Some(open) = open else {
            pieces.push(Piece {
                text,
                at: start,
                is_action: false,
            });
            return Ok(pieces);
        };
        let mut body_at = at + open + 2;
        let after = &template[body_at..];
        if after.starts_with("- ") || after.starts_with("-\n") || after.starts_with("-\t") {
            text = text.trim_end();
            body_at += 2;
        }
        pieces.push(Piece {
            text,
            at: start,
            is_action: false,
        });
        let end = closing(template, body_at).ok_or_else(|| {
            Failure::new(at + open..at + open + 2, "`{{` is never closed by `}}`")
        })?;
        let mut body = &template[body_at..end];
        trims = body.ends_with(" -") || body.ends_with("\n-") || body.ends_with("\t-");
        if trims {
            body = &body[..body.len() - 1];
        }
        let comment = body.trim();
        let is_comment = comment.starts_with("/*") && comment.ends_with("*/");
        if !is_comment {
            pieces.push(Piece {
                text: body,
                at: body_at,
                is_action: true,
            });
        }
        at = end + 2;
    }
}

/// Where the `}}` of an action that begins at `from` stands, quoted text left aside.
fn closing(template: &str, from: usize) -> Option<usize> {
    let rest = template.get(from..)?;
    if rest.trim_start().starts_with("/*") {
        let end = rest.find("*/")? + 2;
        return rest[end..].find("}}").map(|at| from + end + at);
    }
    let mut characters = rest.char_indices();
    let mut quote = None;
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, '"' | '`' | '\'') => quote = Some(character),
            (None, '}') if rest[at..].starts_with("}}") => return Some(from + at),
            (Some('"' | '\''), '\\') => {
                characters.next();
            }
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

/// How a list of parts ends.
enum End {
    /// The template ends.
    Template,
    /// `end`.
    Block,
    /// `else`, with what follows it in the same action.
    Else(usize),
}

struct Parser<'t> {
    pieces: Vec<Piece<'t>>,
    next: usize,
    depth: usize,
    ranges: usize,
}

/// Takes a template apart.
pub(super) fn parse(template: &str) -> Result<Vec<Node>, Failure> {
    let mut parser = Parser {
        pieces: pieces(template)?,
        next: 0,
        depth: 0,
        ranges: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Template => Ok(nodes),
        End::Block => Err(parser.stray("end")),
        End::Else(_) => Err(parser.stray("else")),
    }
}

impl Parser<'_> {
    fn last_span(&self) -> Range<usize> {
        let piece = self.pieces.get(self.next.saturating_sub(1));
        piece.map_or(0..0, |piece| piece.at..piece.at + piece.text.len())
    }

    fn stray(&self, word: &str) -> Failure {
        let message = format!("`{word}` ends no `if`, `range` or `with`");
        Failure::new(self.last_span(), message)
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), Failure> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            let (text, at) = (piece.text, piece.at);
            if !piece.is_action {
                if !text.is_empty() {
                    nodes.push(Node::Text(text.to_owned()));
                }
                continue;
            }
            let mut words = Words::new(text, at);
            let keyword = words.peek_word().to_owned();
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Block)),
                "else" => return Ok((nodes, End::Else(self.next - 1))),
                "if" | "with" | "range" => {
                    words.skip(keyword.len());
                    nodes.push(self.block(&keyword, words)?);
                }
                "break" | "continue" => {
                    if self.ranges == 0 {
                        let message = format!("`{keyword}` stands outside any `range`");
                        return Err(Failure::new(self.last_span(), message));
                    }
                    nodes.push(if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "define" | "template" | "block" => {
                    let message = format!("`{keyword}` is not supported: there is one template");
                    return Err(Failure::new(self.last_span(), message));
                }
                _ => nodes.push(Node::Action(words.whole(self.depth)?)),
            }
        }
        Ok((nodes, End::Template))
    }

    fn block(&mut self, keyword: &str, mut words: Words<'_>) -> Result<Node, Failure> {
        let opening = self.last_span();
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            let message = format!("blocks nest more than {DEPTH_LIMIT} levels");
            return Err(Failure::new(opening, message));
        }
        let pipeline = words.whole(self.depth)?;
        let is_range = keyword == "range";
        self.ranges += usize::from(is_range);
        let (body, end) = self.nodes()?;
        self.ranges -= usize::from(is_range);
        let otherwise = match end {
            End::Block => Vec::new(),
            End::Else(piece) => self.otherwise(piece, &opening)?,
            End::Template => {
                let message = format!("`{keyword}` has no `end`");
                return Err(Failure::new(opening, message));
            }
        };
        self.depth -= 1;
        Ok(if is_range {
            Node::Range {
                pipeline,
                body,
                otherwise,
            }
        } else {
            Node::If {
                pipeline,
                rebinds: keyword == "with",
                then: body,
                otherwise,
            }
        })
    }

    /// What follows an `else`, which may go on with `if` or `with` in the same action.
    fn otherwise(&mut self, piece: usize, opening: &Range<usize>) -> Result<Vec<Node>, Failure> {
        let Some(piece) = self.pieces.get(piece) else {
            return Ok(Vec::new());
        };
        let mut words = Words::new(piece.text, piece.at);
        words.skip("else".len());
        let keyword = words.peek_word().to_owned();
        match keyword.as_str() {
            "" => {
                let (nodes, end) = self.nodes()?;
                match end {
                    End::Block => Ok(nodes),
                    End::Else(_) => Err(Failure::new(self.last_span(), "a second `else`")),
                    End::Template => Err(Failure::new(opening.clone(), "this has no `end`")),
                }
            }
            "if" | "with" => {
                words.skip(keyword.len());
                Ok(vec![self.block(&keyword, words)?])
            }
            other => {
                let message = format!("`else` may be followed by `if` or `with`, not `{other}`");
                Err(Failure::new(self.last_span(), message))
            }
        }
    }
}

/// Reads the words of one action.
struct Words<'t> {
    text: &'t str,
    /// Where the text begins in the template.
    start: usize,
    at: usize,
}

impl<'t> Words<'t> {
    fn new(text: &'t str, start: usize) -> Words<'t> {
        let mut words = Words { text, start, at: 0 };
        words.skip(0);
        words
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes on by so many bytes, and over the space that follows.
    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn peek_word(&self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|character: char| !is_word(character));
        &rest[..end.unwrap_or(rest.len())]
    }

    fn here(&self) -> Range<usize> {
        let start = self.start + self.at;
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        start..start + length
    }

    /// The pipeline that fills the rest of the action.
    fn whole(&mut self, depth: usize) -> Result<Pipeline, Failure> {
        let pipeline = self.pipeline(depth)?;
        if self.rest().is_empty() {
            Ok(pipeline)
        } else {
            Err(Failure::new(
                self.here(),
                format!("unexpected `{}`", self.rest().trim_end()),
            ))
        }
    }

    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, Failure> {
        if depth > DEPTH_LIMIT {
            let message = format!("expressions nest more than {DEPTH_LIMIT} levels");
            return Err(Failure::new(self.here(), message));
        }
        let start = self.start + self.at;
        let (variables, declares) = self.variables();
        let mut commands = Vec::new();
        loop {
            let mut command = Vec::new();
            while let Some(operand) = self.operand(depth)? {
                command.push(operand);
            }
            if command.is_empty() {
                return Err(Failure::new(self.here(), "an expression is missing here"));
            }
            commands.push(command);
            if !self.rest().starts_with('|') {
                break;
            }
            self.skip(1);
        }
        Ok(Pipeline {
            variables,
            declares,
            commands,
            span: start..self.start + self.at,
        })
    }

    /// `$a :=`, `$a =`, `$a, $b :=`.
    fn variables(&mut self) -> (Vec<String>, bool) {
        let before = self.at;
        let mut names = Vec::new();
        while let Some(rest) = self.rest().strip_prefix('$') {
            let end = rest.find(|character: char| !is_word(character));
            let name = &rest[..end.unwrap_or(rest.len())];
            names.push(name.to_owned());
            self.skip(1 + name.len());
            if self.rest().starts_with(":=") {
                self.skip(2);
                return (names, true);
            }
            if self.rest().starts_with('=') {
                self.skip(1);
                return (names, false);
            }
            if !self.rest().starts_with(',') {
                break;
            }
            self.skip(1);
        }
        self.at = before;
        (Vec::new(), false)
    }

    fn operand(&mut self, depth: usize) -> Result<Option<Operand>, Failure> {
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let root = match first {
            '|' | ')' => return Ok(None),
            '.' => Root::Dot,
            '$' => {
                self.at += 1;
                let name = self.peek_word();
                self.at += name.len();
                Root::Variable(name.to_owned())
            }
            '"' | '`' => Root::Text(self.quoted(first)?),
            '(' => {
                self.skip(1);
                let inner = self.pipeline(depth + 1)?;
                if !self.rest().starts_with(')') {
                    return Err(Failure::new(self.here(), "`)` is missing here"));
                }
                self.at += 1;
                Root::Parentheses(Box::new(inner))
            }
            '-' | '0'..='9' => {
                let end = rest[1..].find(|character: char| !is_word(character));
                let word = &rest[..end.map_or(rest.len(), |end| end + 1)];
                self.at += word.len();
                let number = word.parse();
                Root::Integer(number.map_err(|_| {
                    let span = self.start + start..self.start + self.at;
                    Failure::new(span, format!("`{word}` is no whole number"))
                })?)
            }
            character if is_word(character) => {
                let word = self.peek_word();
                self.at += word.len();
                match word {
                    "true" => Root::Bool(true),
                    "false" => Root::Bool(false),
                    "nil" => Root::Nil,
                    word => Root::Function(word.to_owned()),
                }
            }
            other => {
                return Err(Failure::new(
                    self.here(),
                    format!("`{other}` means nothing here"),
                ));
            }
        };
        let mut fields = Vec::new();
        while let Some(rest) = self.rest().strip_prefix('.') {
            let end = rest.find(|character: char| !is_word(character));
            let name = &rest[..end.unwrap_or(rest.len())];
            if name.is_empty() {
                if root != Root::Dot || !fields.is_empty() {
                    return Err(Failure::new(self.here(), "a field's name is missing here"));
                }
                self.at += 1;
                break;
            }
            let from = self.start + self.at;
            self.at += 1 + name.len();
            fields.push((name.to_owned(), from..self.start + self.at));
        }
        let span = self.start + start..self.start + self.at;
        self.skip(0);
        Ok(Some(Operand { root, fields, span }))
    }

    fn quoted(&mut self, quote: char) -> Result<String, Failure> {
        let opening = self.here();
        self.at += 1;
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' if quote == '"' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, other @ ('\\' | '"' | '\''))) => text.push(other),
                    other => {
                        let escape = other.map_or(String::new(), |(_, other)| other.to_string());
                        let message = format!("`\\{escape}` is no escape that is known here");
                        return Err(Failure::new(opening, message));
                    }
                },
                character if character == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                character => text.push(character),
            }
        }
        Err(Failure::new(opening, "this quote is never closed"))
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
