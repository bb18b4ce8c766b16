//! What the parts of a template print.

use std::cmp::Ordering;
use std::ops::Range;

use yaml::Item;

use super::Failure;
use super::parse::{Node, Operand, Pipeline, Root};
use super::value::Value;

/// The most that a template may print, in bytes.
const SIZE_LIMIT: usize = 64 << 20;

struct Evaluation {
    out: String,
    /// Names and values, the innermost last; the first is the whole recipe.
    variables: Vec<(String, Value)>,
}

/// Whether a `range` goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Prints `nodes` with `recipe` as the dot.
pub(super) fn evaluate(nodes: &[Node], recipe: Value) -> Result<String, Failure> {
    let mut evaluation = Evaluation {
        out: String::new(),
        variables: vec![(String::new(), recipe.clone())],
    };
    evaluation.nodes(nodes, &recipe)?;
    Ok(evaluation.out)
}

impl Evaluation {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Failure> {
        let known = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Failure> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.print());
                    if self.out.len() > SIZE_LIMIT {
                        let message = format!("this prints more than {SIZE_LIMIT} bytes");
                        return Err(Failure::new(pipeline.span.clone(), message));
                    }
                } else {
                    self.assign(pipeline, &[value])?;
                }
            }
            Node::If {
                pipeline,
                rebinds,
                then,
                otherwise,
            } => {
                let known = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                if !pipeline.variables.is_empty() {
                    self.assign(pipeline, std::slice::from_ref(&value))?;
                }
                let flow = match (value.holds(), rebinds) {
                    (true, true) => self.nodes(then, &value)?,
                    (true, false) => self.nodes(then, dot)?,
                    (false, _) => self.nodes(otherwise, dot)?,
                };
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::Range {
                pipeline,
                body,
                otherwise,
            } => return self.range(pipeline, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Failure> {
        let value = self.pipeline(pipeline, dot)?;
        let members = value.members().ok_or_else(|| {
            let message = format!("`range` goes over lists and mappings, not {}", value.kind());
            Failure::new(pipeline.span.clone(), message)
        })?;
        if members.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, member) in members {
            match pipeline.variables.len() {
                0 => {}
                1 => self.assign(pipeline, std::slice::from_ref(&member))?,
                _ => self.assign(pipeline, &[key, member.clone()])?,
            }
            let flow = self.nodes(body, &member)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn assign(&mut self, pipeline: &Pipeline, values: &[Value]) -> Result<(), Failure> {
        for (name, value) in pipeline.variables.iter().zip(values) {
            if pipeline.declares {
                self.variables.push((name.clone(), value.clone()));
                continue;
            }
            let mut known = self.variables.iter_mut().rev();
            match known.find(|(known, _)| known == name) {
                Some((_, slot)) => *slot = value.clone(),
                None => {
                    let message = format!("no variable is called `${name}`");
                    return Err(Failure::new(pipeline.span.clone(), message));
                }
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Failure> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_else(|| Value::plain(Item::Null)))
    }

    fn command(
        &mut self,
        command: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let Some((first, arguments)) = command.split_first() else {
            return Ok(Value::plain(Item::Null));
        };
        if let Root::Function(name) = &first.root {
            let mut values = Vec::new();
            for argument in arguments {
                values.push(self.operand(argument, dot)?);
            }
            values.extend(piped);
            let value = call(name, &values, &first.span)?;
            return fields(value, first);
        }
        if let Some(second) = arguments.first() {
            let message = "only functions take arguments";
            return Err(Failure::new(second.span.clone(), message));
        }
        if piped.is_some() {
            let message = "only a function can take what is piped to it";
            return Err(Failure::new(first.span.clone(), message));
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Failure> {
        let root = match &operand.root {
            Root::Dot => dot.clone(),
            Root::Variable(name) => {
                let mut known = self.variables.iter().rev();
                let found = known.find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| {
                    let message = format!("no variable is called `${name}`");
                    Failure::new(operand.span.clone(), message)
                })?;
                value.clone()
            }
            Root::Function(name) => call(name, &[], &operand.span)?,
            Root::Text(text) => Value::plain(text.as_str()),
            Root::Integer(number) => Value::plain(*number),
            Root::Bool(value) => Value::plain(*value),
            Root::Nil => Value::plain(Item::Null),
            Root::Parentheses(pipeline) => self.pipeline(pipeline, dot)?,
        };
        fields(root, operand)
    }
}

fn fields(root: Value, operand: &Operand) -> Result<Value, Failure> {
    let mut value = root;
    for (name, span) in &operand.fields {
        value = value.field(name).map_err(|(message, help)| Failure {
            span: span.clone(),
            message,
            help,
        })?;
    }
    Ok(value)
}

fn call(name: &str, arguments: &[Value], span: &Range<usize>) -> Result<Value, Failure> {
    let fail = |message: String| Failure::new(span.clone(), message);
    let count = |least: usize, most: usize| {
        if (least..=most).contains(&arguments.len()) {
            return Ok(());
        }
        let wanted = match (least, most) {
            (1, 1) => "one argument".to_owned(),
            (2, 2) => "two arguments".to_owned(),
            (least, _) => format!("at least {least} arguments"),
        };
        Err(fail(format!("`{name}` takes {wanted}")))
    };
    let truth = |value: bool| Ok(Value::plain(value));
    match name {
        "not" => {
            count(1, 1)?;
            truth(!arguments[0].holds())
        }
        "and" | "or" => {
            count(1, usize::MAX)?;
            let decides = |value: &&Value| value.holds() == (name == "or");
            let last = arguments.len() - 1;
            Ok(arguments
                .iter()
                .find(decides)
                .unwrap_or(&arguments[last])
                .clone())
        }
        "len" => {
            count(1, 1)?;
            let length = arguments[0].len();
            let length =
                length.ok_or_else(|| fail(format!("{} has no length", arguments[0].kind())))?;
            Ok(Value::plain(i64::try_from(length).unwrap_or(i64::MAX)))
        }
        "index" => {
            count(1, usize::MAX)?;
            let mut value = arguments[0].clone();
            for key in &arguments[1..] {
                value = index(&value, key).map_err(fail)?;
            }
            Ok(value)
        }
        "slice" => {
            count(1, 3)?;
            slice(arguments).map_err(fail)
        }
        "print" => Ok(Value::plain(joined(arguments))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(Value::print).collect();
            Ok(Value::plain(words.join(" ") + "\n"))
        }
        "printf" => {
            count(1, usize::MAX)?;
            formatted(arguments).map(Value::plain).map_err(fail)
        }
        "eq" => {
            count(2, usize::MAX)?;
            let first = &arguments[0].item;
            truth(arguments[1..].iter().any(|other| other.item == *first))
        }
        "ne" => {
            count(2, 2)?;
            truth(arguments[0].item != arguments[1].item)
        }
        "lt" | "le" | "gt" | "ge" => {
            count(2, 2)?;
            let order = match (&arguments[0].item, &arguments[1].item) {
                (Item::Integer(left), Item::Integer(right)) => left.cmp(right),
                (Item::Text(left), Item::Text(right)) => left.cmp(right),
                _ => {
                    return Err(fail(format!(
                        "`{name}` compares numbers or texts, not {} and {}",
                        arguments[0].kind(),
                        arguments[1].kind()
                    )));
                }
            };
            truth(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        _ => {
            let mut failure = fail(format!("no function is called `{name}`"));
            failure.help = Some(
                "there are and, or, not, len, index, slice, print, printf, println, eq, ne, lt, le, gt, ge; \
                 a field begins with a dot"
                    .to_owned(),
            );
            Err(failure)
        }
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    let members = value
        .members()
        .ok_or_else(|| format!("{} has no members", value.kind()))?;
    let length = members.len();
    let found = members
        .into_iter()
        .find(|(known, _)| known.item == key.item);
    match (found, &value.item) {
        (Some((_, member)), _) => Ok(member),
        (None, Item::Map(_)) => Ok(Value::plain(Item::Null)),
        (None, _) => Err(format!(
            "the list has {length} members, none at {}",
            key.print()
        )),
    }
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let bound = |position: usize, default: usize| match arguments.get(position).map(|a| &a.item) {
        None => Ok(default),
        Some(Item::Integer(number)) => usize::try_from(*number)
            .map_err(|_| format!("`slice` begins and ends at 0 or later, not {number}")),
        Some(_) => Err("`slice` takes numbers".to_owned()),
    };
    let value = &arguments[0];
    let length = value
        .len()
        .ok_or_else(|| format!("{} can't be sliced", value.kind()))?;
    let (start, end) = (bound(1, 0)?, bound(2, length)?);
    let outside = || format!("{start} to {end} is outside what has the length {length}");
    let item = match &value.item {
        Item::Text(text) => text.get(start..end).map(Item::from),
        Item::List(items) => items
            .get(start..end)
            .map(|items| Item::List(items.to_vec())),
        _ => return Err(format!("{} can't be sliced", value.kind())),
    };
    Ok(Value {
        item: item.ok_or_else(outside)?,
        form: value.form,
    })
}

/// As Go's `print`: spaces between neighbours that are both no text.
fn joined(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (position, argument) in arguments.iter().enumerate() {
        let is_text = |value: &Value| matches!(value.item, Item::Text(_));
        if let Some(before) = position
            .checked_sub(1)
            .and_then(|before| arguments.get(before))
            && !is_text(before)
            && !is_text(argument)
        {
            out.push(' ');
        }
        out.push_str(&argument.print());
    }
    out
}

/// `%s`, `%v`, `%d`, `%t` and `%q`, without flags.
fn formatted(arguments: &[Value]) -> Result<String, String> {
    let Some((Item::Text(format), mut values)) = arguments
        .split_first()
        .map(|(format, values)| (&format.item, values.iter()))
    else {
        return Err("`printf` takes a text first".to_owned());
    };
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let verb = characters.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or("`printf` has more verbs than values")?
            .print();
        match verb {
            Some('s' | 'v' | 'd' | 't') => out.push_str(&value),
            Some('q') => out.push_str(&serde_json::Value::String(value).to_string()),
            Some(other) => {
                return Err(format!(
                    "`printf` knows %s, %v, %d, %t and %q, not %{other}"
                ));
            }
            None => return Err("`printf` ends in the middle of a verb".to_owned()),
        }
    }
    match values.next() {
        None => Ok(out),
        Some(_) => Err("`printf` has more values than verbs".to_owned()),
    }
}
