use proptest::prelude::*;

use super::*;
use crate::{Item, to_string};

fn style() -> Style {
    let paths = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Style {
        gaps: paths(&[".", ".steps", ".groups[].steps"]),
        sorted: paths(&[".needs"]),
        ..Style::default()
    }
}

fn formatted_with(text: &str, style: &Style) -> Result<String, String> {
    let source = |text: &str| SourceText::new("a.yaml", text);
    let once = format(&source(text), style).map_err(|problems| problems[0].to_string())?;
    let twice = format(&source(&once), style).unwrap();
    assert_eq!(once, twice, "once and twice differ");
    Ok(once)
}

fn formatted(text: &str) -> String {
    formatted_with(text, &style()).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn everything_gets_one_form() {
    let messy = "\n---\n# what this is\n\n# and why\nname :   hello   # said aloud\nversion: 1.10  \n\
        long: one\n    two\n\nmap:\n    a: 1\n\n    # about b\n    b: {x: 1,   y: [ 2 ]}\n\n\n    c:\n\
        # at the margin, about d\n    d: 'single'\nlist:\n- a\n\n-   b: 1\n    c: 2\n-\n    d: 3\n- - e\n  - f\n\
        # before steps\nsteps:\n-   run: |\n          echo\n\n            more\n    # about if\n    if: x\n\
        - run: >-\n      folded\n      text\n\n    # behind all steps\n\nempty: {}\ntext:\n  below\nquoted: \"one\n\
        \x20 two\"\nflow: [\n  a, # first\n  b\n]\nlast: &anchor 5\nagain: *anchor\n# the end";
    insta::assert_snapshot!(formatted(messy), @r#"
    # what this is

    # and why
    name: hello # said aloud

    version: 1.10

    long: one two

    map:
      a: 1
      # about b
      b: {x: 1,   y: [ 2 ]}
      c:
      # at the margin, about d
      d: 'single'

    list:
      - a
      - b: 1
        c: 2
      - d: 3
      - - e
        - f

    # before steps
    steps:
      - run: |
          echo

            more
        # about if
        if: x

      - run: >-
          folded
          text
        # behind all steps

    empty: {}

    text: below

    quoted: "one
      two"

    flow: [
      a, # first
      b
    ]

    last: &anchor 5

    again: *anchor
    # the end
    "#);
}

#[test]
fn what_has_its_form_stays() {
    for text in [
        "",
        "a: 1\n",
        "# alone\n",
        "- a\n\n- b\n",
        "{a: 1}\n",
        "steps:\n  - a: |2-\n        indented\n      less\n\n  - b\n",
        "steps:\n  - a: |+\n      kept\n\n\n  - b\n",
        "keys:\n  \"quoted key\": 1\n  'single: one': 2\n",
        "base: &base\n  a: 1\n\nother:\n  <<: *base\n  b: 2\n",
        "text: >\n  folded\n\n\nnext: 1\n",
        "a: |\n  # no comment\n  text\n",
        "a: \"# no comment\" # but this\n",
        "groups:\n  - steps:\n      - a\n\n      - b\n  - steps:\n      - c\n",
    ] {
        assert_eq!(formatted(text), text);
    }
}

#[test]
fn blocks_keep_every_character() {
    // Deeper first lines, lines of spaces, a tab, a missing newline at the end.
    assert_eq!(
        formatted(
            "a:\n      b: |\n            x\n              \n            \ty\n            z\n"
        ),
        "a:\n  b: |\n    x\n      \n    \ty\n    z\n"
    );
}

#[test]
fn a_block_that_ends_with_the_file_gets_no_newline() {
    assert_eq!(formatted("a: |\n    x"), "a: |-\n  x\n");
    assert_eq!(formatted("a: |+\n    x"), "a: |-\n  x\n");
    assert_eq!(formatted("a: |-\n    x"), "a: |-\n  x\n");
}

#[test]
fn lists_are_sorted_with_their_comments() {
    assert_eq!(
        formatted("needs:\n# b is needed\n- b # really\n- c\n\n# a\n# twice\n- a\n- a\n- B\n"),
        "needs:\n  - B\n  # a\n  # twice\n  - a\n  - a\n  # b is needed\n  - b # really\n  - c\n"
    );
    // Items over several lines come to one first.
    assert_eq!(
        formatted("needs:\n- c\n  d\n- b\n- a\n"),
        "needs:\n  - a\n  - b\n  - c d\n"
    );
    // Not of texts alone, or all on one line: they stay.
    assert_eq!(formatted("needs: [b, a]\n"), "needs: [b, a]\n");
    assert_eq!(
        formatted("needs:\n- b\n- {a: 1}\n"),
        "needs:\n  - b\n  - {a: 1}\n"
    );
    let style = Style {
        indent: 4,
        deduplicated: vec![".a".parse().unwrap()],
        quoted: vec![".*.b".parse().unwrap()],
        ..Style::default()
    };
    assert_eq!(
        formatted_with("a:\n- x\n- y\n- x\nc:\n  b: it's\nd:\n  b: \"q\"\n", &style).unwrap(),
        "a:\n    - x\n    - y\nc:\n    b: \"it's\"\nd:\n    b: \"q\"\n"
    );
}

#[test]
fn every_kind_of_line_end_becomes_one() {
    for (text, laid_out) in [
        ("a: 1\rb:\r  - x\r", "a: 1\n\nb:\n  - x\n"),
        ("# one\r# two\ra: 1", "# one\n# two\na: 1\n"),
        ("\ra: >-\n  t!\n\n  u", "a: >-\n  t!\n\n  u\n"),
        ("a: >-\r  t!\r\r  u\r", "a: >-\n  t!\n\n  u\n"),
        (
            "a: |\r\n  x\r\n  y\r\nb: 'q\r  r'",
            "a: |\n  x\n  y\n\nb: 'q\n  r'\n",
        ),
        ("a: \"x\\ry\"\r", "a: \"x\\ry\"\n"),
    ] {
        let once = formatted_with(text, &style()).unwrap();
        assert_eq!(once, laid_out, "{text:?}");
        assert_eq!(formatted_with(&once, &style()).unwrap(), laid_out);
    }
    // A block of lines that is the whole file has no key to be laid out below.
    let refused = formatted_with("\r>-\nt!", &style()).unwrap_err();
    assert!(
        refused.contains("can't be laid out without changing what it says"),
        "{refused}"
    );
}

#[test]
fn what_cannot_be_kept_is_refused() {
    for (text, problem) in [
        (
            "a: 1\n---\nb: 2\n",
            "a.yaml:2:1: a second document begins here, and only one is read",
        ),
        ("a: [\n", "a.yaml:1:4: YAML syntax"),
        ("a: 1\na: 2\n", "a.yaml:2:1: "),
    ] {
        let refused = formatted_with(text, &style()).unwrap_err();
        assert!(refused.starts_with(problem), "{text:?}: {refused}");
    }
    for path in ["", "a", ".a..b", ".a[", ".a[x]", ".a b"] {
        assert!(path.parse::<PathPattern>().is_err(), "{path}");
    }
}

fn items() -> impl Strategy<Value = Item> {
    let text = prop_oneof!["[a-z]{1,6}", "[ -~]{0,12}", "(x\n){1,3}"];
    let leaf = prop_oneof![
        Just(Item::Null),
        any::<bool>().prop_map(Item::Bool),
        any::<i64>().prop_map(Item::Integer),
        text.prop_map(Item::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::List),
            proptest::collection::btree_map("[a-z]{1,5}", inner, 0..4)
                .prop_map(|map| Item::Map(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_keeps_its_meaning(item in items(), wide in 1_usize..4, blank in any::<bool>()) {
        // Indented more, with empty lines everywhere.
        let text: String = to_string(&item)
            .lines()
            .map(|line| {
                let depth = line.len() - line.trim_start().len();
                let lead = " ".repeat(depth * wide);
                format!("{lead}{}\n{}", line.trim_start(), if blank { "\n" } else { "" })
            })
            .collect();
        let source = SourceText::new("a.yaml", text.as_str());
        // A nested list's second item stands under its first: widened, it may not be YAML.
        if Document::parse(source.clone()).is_ok() {
            let once = format(&source, &style());
            prop_assert!(once.is_ok(), "{text}\n{once:?}");
            let once = once.unwrap();
            let again = format(&SourceText::new("a.yaml", once.as_str()), &style()).unwrap();
            prop_assert_eq!(&once, &again);
        }
    }
}
