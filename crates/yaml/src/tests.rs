use std::collections::BTreeMap;

use base::{Problem, SourceText};
use proptest::prelude::*;

use super::*;

/// One line per problem: its place and message, then what its labels mark, then its help.
fn render(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        out += &format!("{problem} [{}]\n", problem.rule);
        for label in &problem.labels {
            let source = problem.source.as_ref().unwrap().text();
            let line = format!("  `{}` {}", &source[label.span.clone()], label.text);
            out += line.trim_end();
            out.push('\n');
        }
        if let Some(help) = &problem.help {
            out += &format!("  help: {help}\n");
        }
    }
    out
}

fn parse(text: &str) -> Document {
    Document::parse(SourceText::new("a.yaml", text)).unwrap_or_else(|p| panic!("{}", render(&p)))
}

fn problems_of(text: &str) -> String {
    render(&Document::parse(SourceText::new("a.yaml", text)).unwrap_err())
}

fn item(text: &str) -> Item {
    Item::from(&parse(text).root)
}

#[derive(Debug, PartialEq)]
struct Thing {
    name: String,
    epoch: u64,
    mode: Option<u32>,
    enabled: bool,
    tags: Vec<String>,
    vars: BTreeMap<String, String>,
}

impl Decode for Thing {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Thing> {
        let mut fields = Fields::of(node, "thing", decoder)?;
        let name = fields.required("name", decoder);
        let epoch = fields.or_default("epoch", decoder);
        let mode = fields.optional("mode", decoder);
        let enabled = fields.or_default("enabled", decoder);
        let tags = fields.or_default("tags", decoder);
        let vars = fields.or_default("vars", decoder);
        fields.finish(decoder);
        Some(Thing {
            name: name?,
            epoch,
            mode,
            enabled,
            tags,
            vars,
        })
    }
}

#[test]
fn the_field_decides_the_type() {
    let text = "name: 6.10\nepoch: 0x10\nmode: 0755\nenabled: yes\ntags: [true, null, ~, 1e3, '']\nvars: {a: 010, b: }\n";
    let thing: Thing = decode(SourceText::new("a.yaml", text)).unwrap();
    assert_eq!(
        thing,
        Thing {
            name: "6.10".into(),
            epoch: 16,
            mode: Some(0o755),
            enabled: true,
            tags: ["true", "", "", "1e3", ""].map(String::from).to_vec(),
            vars: [("a".into(), "010".into()), ("b".into(), String::new())].into(),
        }
    );
}

#[test]
fn all_problems_come_at_once() {
    let text = "epoch: -1\nnmae: x\nenabled: 'true'\ntags: one\nvars:\n  a: [1]\n  a: 2\nepoch: 3\nmode: 8589934592\n";
    let problems = decode::<Thing>(SourceText::new("a.yaml", text)).unwrap_err();
    insta::assert_snapshot!(render(&problems), @r#"
    a.yaml:1:1: thing has no `name` [missing-key]
      `epoch: -1` `name` is required
    a.yaml:1:8: expected an integer that is not negative, found `-1` [wrong-type]
      `-1` not an integer that is not negative
    a.yaml:2:1: unknown key `nmae` in thing [unknown-key]
      `nmae` unknown
      help: did you mean `name`? Valid keys: enabled, epoch, mode, name, tags, vars
    a.yaml:3:10: expected `true` or `false`, found `'true'` [wrong-type]
      `'true'` not `true` or `false`
    a.yaml:4:7: expected a list, found `one` [wrong-type]
      `one` not a list
    a.yaml:6:6: expected text, found a list [wrong-type]
      `[1]` not text
    a.yaml:7:3: the key `a` stands twice [duplicate-key]
      `a` again here
      `a` first here
      help: remove one of the two
    a.yaml:8:1: the key `epoch` stands twice [duplicate-key]
      `epoch` again here
      `epoch` first here
      help: remove one of the two
    a.yaml:9:7: expected an integer between 0 and 4294967295, found `8589934592` [wrong-type]
      `8589934592` not an integer between 0 and 4294967295
    "#);
}

#[test]
fn spans_are_exact() {
    let text = "é: &x\n  - one # c\n  - \"two\"\n  - {k: v, l: [1]}\nnext: *x\n";
    let document = parse(text);
    let slice = |node: &Node| text[node.span.clone()].to_owned();
    let list = document.root.get("é").unwrap();
    assert_eq!(slice(list), "- one # c\n  - \"two\"\n  - {k: v, l: [1]}");
    let Value::Sequence(items) = &list.value else {
        panic!()
    };
    assert_eq!(slice(&items[0]), "one");
    assert_eq!(slice(&items[1]), "\"two\"");
    assert_eq!(slice(&items[2]), "{k: v, l: [1]}");
    assert_eq!(slice(items[2].get("l").unwrap()), "[1]");
    assert_eq!(slice(document.root.get("next").unwrap()), "*x");
    assert_eq!(document.root.get("next").unwrap().value, list.value);
}

#[test]
fn block_scalars_at_the_end_of_the_file() {
    for (text, value) in [
        ("a: |\n  x", "x"),
        ("a: |\n  x\n", "x\n"),
        ("a: |-\n  x", "x"),
        ("a: |+\n  x\n\n", "x\n\n"),
        ("a: >\n  x\n  y", "x y"),
        ("a: |\n  x\n  ", "x\n"),
        ("a: |\n  x\n# end", "x\n"),
        ("a: |\n  x\nb: y", "x\n"),
        ("b: y\na: |\n  x\n  y z", "x\ny z"),
    ] {
        assert_eq!(
            parse(text).root.get("a").unwrap().text(),
            Some(value),
            "{text:?}"
        );
    }
}

#[test]
fn nulls_and_keys() {
    assert_eq!(
        item("a:\nb: ~\nc: null\nd: 'null'\ne: NULL\n? \nnull: 1\n"),
        Item::Map(vec![
            ("a".into(), Item::Null),
            ("b".into(), Item::Null),
            ("c".into(), Item::Null),
            ("d".into(), "null".into()),
            ("e".into(), Item::Null),
            (String::new(), Item::Null),
            ("null".into(), "1".into()),
        ])
    );
    assert_eq!(item(""), Item::Null);
    assert_eq!(item("# only this\n"), Item::Null);
    let one = Item::Map(vec![("a".into(), "1".into())]);
    assert_eq!(item("---\na: 1\n...\n"), one);
    for more in ["b: 2\n", "b: [\n", ""] {
        let said = problems_of(&format!("a: 1\n---\n{more}"));
        assert!(said.contains("a second document begins here"), "{said}");
    }
}

#[test]
fn merge_keys() {
    assert_eq!(
        item("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  b: 0\n  <<: [*x, *y]\n").to_owned(),
        Item::Map(vec![
            (
                "x".into(),
                Item::Map(vec![("a".into(), "1".into()), ("b".into(), "2".into())])
            ),
            (
                "y".into(),
                Item::Map(vec![("b".into(), "3".into()), ("c".into(), "4".into())])
            ),
            (
                "z".into(),
                Item::Map(vec![
                    ("b".into(), "0".into()),
                    ("a".into(), "1".into()),
                    ("c".into(), "4".into()),
                ])
            ),
        ])
    );
}

#[test]
fn bad_files() {
    insta::assert_snapshot!(problems_of("a: [1, 2\nb: 3\n"), @r#"
    a.yaml:2:2: YAML syntax: illegal placement of ':' indicator [yaml-syntax]
      `` here
    "#);
    insta::assert_snapshot!(problems_of("a: 1\nb:\n  a: 1\n  a: 2\na: 3\n? [x]\n: y\n"), @r"
    a.yaml:4:3: the key `a` stands twice [duplicate-key]
      `a` again here
      `a` first here
      help: remove one of the two
    a.yaml:5:1: the key `a` stands twice [duplicate-key]
      `a` again here
      `a` first here
      help: remove one of the two
    a.yaml:6:3: a key must be a scalar [yaml-key]
      `[x]`
    ");
    insta::assert_snapshot!(problems_of("a: *nowhere\n"), @r#"
    a.yaml:1:4: no anchor `&nowhere` stands before this alias [yaml-alias]
      `*nowhere`
    "#);
    insta::assert_snapshot!(problems_of("a: &a [*a]\n"), @r#"
    a.yaml:1:8: this alias stands inside the value it refers to [yaml-alias]
      `*a`
    "#);
    insta::assert_snapshot!(problems_of("a: !!binary aGk=\nb: !mine {}\nc: !!str 1\n"), @r#"
    a.yaml:1:13: the tag `!!binary` has no meaning here [yaml-tag]
      `aGk=`
    a.yaml:2:10: the tag `!mine` has no meaning here [yaml-tag]
      `{`
    "#);
    insta::assert_snapshot!(problems_of("a: 1\n<<: 2\n"), @r#"
    a.yaml:2:5: `<<` takes a mapping or a list of mappings [yaml-merge]
      `2`
    "#);
}

#[test]
fn hostile_files_are_refused_quickly() {
    let deep = "[".repeat(100_000);
    assert!(Document::parse(SourceText::new("a", deep)).is_err());
    let deep: String = (0..5000).map(|level| " ".repeat(level) + "a:\n").collect();
    assert!(Document::parse(SourceText::new("a", deep)).is_err());

    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let references = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs += &format!("a{level}: &a{level} [{references}]\n");
    }
    assert!(problems_of(&laughs).contains("expand to far more"));

    let nested: String = (0..90)
        .map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1))
        .skip(1)
        .collect();
    let nested = format!("a0: &a0 [{}1{}]\n{nested}", "[".repeat(40), "]".repeat(40));
    assert!(problems_of(&nested).contains("levels of nesting"));
}

fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        Just(Item::Null),
        any::<String>().prop_map(Item::Text),
        "[ -~\n\t]{0,12}".prop_map(Item::Text),
        "(true|no|~|null|0x1f|1_0|-|- a|a: b|a #b|\\.inf|2026-01-01|<<|=|:|\\?|x:|@x|%y|`z)"
            .prop_map(Item::Text),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Item::List),
            prop::collection::btree_map("[ -~]{0,6}|\\PC{0,4}|k{900,1100}", inner, 0..5)
                .prop_map(|map| Item::Map(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(written in items()) {
        let text = to_string(&written);
        prop_assert_eq!(item(&text), written, "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[-a-c0 :#&*!|>'\"%@?,\\[\\]{}\n\t~<é]{0,60}") {
        if let Ok(document) = Document::parse(SourceText::new("a", text.as_str())) {
            check_spans(&document.root, &text)?;
        }
        let _ = decode::<Thing>(SourceText::new("a", text));
    }
}

fn check_spans(node: &Node, text: &str) -> Result<(), TestCaseError> {
    prop_assert!(text.get(node.span.clone()).is_some());
    match &node.value {
        Value::Sequence(items) => items.iter().try_for_each(|item| check_spans(item, text)),
        Value::Mapping(entries) => entries.iter().try_for_each(|entry| {
            prop_assert!(text.get(entry.key_span.clone()).is_some());
            check_spans(&entry.value, text)
        }),
        _ => Ok(()),
    }
}

#[test]
fn written_form() {
    let item = Item::Map(vec![
        ("schema".into(), 1_i64.into()),
        (
            "packages".into(),
            Item::List(vec![
                Item::Map(vec![
                    ("name".into(), "busybox".into()),
                    ("version".into(), "1.37.0-r0".into()),
                ]),
                Item::List(vec!["a".into(), Item::List(vec![])]),
            ]),
        ),
        ("notes".into(), "two\nlines: \u{7f}".into()),
        ("none".into(), Item::Map(vec![])),
    ]);
    insta::assert_snapshot!(to_string(&item), @r#"
    schema: 1
    packages:
      - name: busybox
        version: "1.37.0-r0"
      - - a
        - []
    notes: "two\nlines: \x7f"
    none: {}
    "#);
}
