use std::fs;
use std::path::{Path, PathBuf};

use base::{Problem, SourceText};
use yaml::{Decode, Decoder, Fields, Node, PathPattern, Spanned, Style};

/// The file that says how the YAML files of a folder, and of those beneath, are laid out (yam's).
pub const STYLE_FILE: &str = ".yam.yaml";

/// Wolfi's style, for recipes that have no [`STYLE_FILE`]: two spaces a level, an empty line between
/// the top's entries, subpackages, lists of data and steps, and packages sorted.
pub fn usual() -> Style {
    let paths = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
    Style {
        gaps: paths(&[".", ".subpackages", ".data", ".pipeline"]),
        sorted: paths(&[
            ".package.dependencies.runtime",
            ".environment.contents.packages",
        ]),
        ..Style::default()
    }
}

/// The style of the recipe at `path`: that of the nearest [`STYLE_FILE`] in its folder or above, else
/// the usual one.
///
/// # Errors
/// That file can't be read, or what is wrong with it.
pub fn of(path: &Path) -> Result<Style, Vec<Problem>> {
    let here = PathBuf::from(".");
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(&here);
    // A folder's parents are known once it is absolute.
    let absolute = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let Some(file) = absolute
        .ancestors()
        .map(|folder| folder.join(STYLE_FILE))
        .find(|file| file.is_file())
    else {
        return Ok(usual());
    };
    let text = fs::read_to_string(&file).map_err(|error| {
        let message = format!("the style {} can't be read: {error}", file.display());
        vec![Problem::error("unreadable", message).help("make it readable, or remove it")]
    })?;
    parse(SourceText::new(file.display().to_string(), text))
}

/// Reads a [`STYLE_FILE`]: `indent`, and the paths of `gap`, `sort`, `dedup` and `quote`.
///
/// # Errors
/// Every problem of it.
pub fn parse(source: SourceText) -> Result<Style, Vec<Problem>> {
    yaml::decode::<Written>(source).map(|written| written.0)
}

struct Written(Style);

impl Decode for Written {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Written> {
        let mut fields = Fields::of(node, "the style", decoder)?;
        let indent: Option<Spanned<u32>> = fields.optional("indent", decoder);
        let lists = ["gap", "sort", "dedup", "quote"].map(|key| {
            let texts: Vec<Spanned<String>> = fields.or_default(key, decoder);
            paths(&texts, decoder)
        });
        fields.finish(decoder);
        if let Some(indent) = &indent
            && !(1..=8).contains(&indent.value)
        {
            let message = format!("{} is no indentation: from 1 to 8 spaces", indent.value);
            decoder.error("invalid-style", message, indent.span(), "");
        }
        let [gaps, sorted, deduplicated, quoted] = lists;
        Some(Written(Style {
            indent: indent.map_or(2, |indent| indent.value as usize),
            gaps,
            sorted,
            deduplicated,
            quoted,
        }))
    }
}

fn paths(texts: &[Spanned<String>], decoder: &mut Decoder) -> Vec<PathPattern> {
    let mut paths = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(path) => paths.push(path),
            Err(error) => {
                let error: yaml::InvalidPath = error;
                decoder.error("invalid-style", error.to_string(), text.span(), "");
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wolfis_style_is_the_usual_one() {
        let text = "gap:\n  - .\n  - .subpackages\n  - \".data\"\n  - .pipeline\n\nsort:\n  - .package.dependencies.runtime\n  - .environment.contents.packages\n\nindent: 2\n";
        assert_eq!(parse(SourceText::new(STYLE_FILE, text)).unwrap(), usual());
    }

    #[test]
    fn everything_wrong_with_a_style_is_told() {
        let text = "gap: [pipeline, .a]\nindent: 9\nspaces: 2\n";
        let problems = parse(SourceText::new(STYLE_FILE, text)).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        .yam.yaml:1:7: `pipeline` is no path; write `.` for the top, `.key.key[]` for what is below
        .yam.yaml:2:9: 9 is no indentation: from 1 to 8 spaces
        .yam.yaml:3:1: unknown key `spaces` in the style
        ");
    }

    #[test]
    fn the_nearest_style_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let inner = scratch.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(scratch.path().join(STYLE_FILE), "indent: 3\n").unwrap();
        assert_eq!(of(&inner.join("x.yaml")).unwrap().indent, 3);
        fs::write(scratch.path().join("a").join(STYLE_FILE), "indent: 4\n").unwrap();
        assert_eq!(of(&inner.join("x.yaml")).unwrap().indent, 4);
    }
}
