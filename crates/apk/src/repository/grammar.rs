//! The lines of `/etc/apk/repositories` and of `-X` (apk-repositories(5), apk 3).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use url::Url;

use super::{ArchName, Layout, Location, Repository};
use crate::install::settings::Settings;
use store::without_credentials;

/// apk keeps the repositories of a package in a mask of 32 bits.
pub const MAXIMUM_REPOSITORIES: usize = 32;

/// apk keeps the tags in a mask of 16 bits, and one stands for no tag.
pub const MAXIMUM_TAGS: usize = 15;

/// Bytes of a file of repositories.
const MAXIMUM_FILE: u64 = 1 << 20;

/// Bytes that the variables of a word may come to, as in apk.
const MAXIMUM_WORD: usize = 4096;

const VARIABLES: usize = 1024;

/// The file that apk reads first, below a root.
pub const FILE: &str = "etc/apk/repositories";

/// The folders whose `*.list` files apk reads after it; of two files with one name, the first
/// folder's counts.
pub const FOLDERS: [&str; 2] = ["etc/apk/repositories.d", "lib/apk/repositories.d"];

/// Repositories in the order of their lines, and the lines that were no good.
#[derive(Clone, Debug)]
pub struct RepositoryList {
    repositories: Vec<Repository>,
    problems: Vec<LineProblem>,
    variables: BTreeMap<String, String>,
    tags: Vec<String>,
}

/// A line that declares no repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {reason}\n  {text}")]
pub struct LineProblem {
    /// The file's name, or what the line was given by, such as `-X`.
    pub file: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The column of what is wrong, in characters from 1.
    pub column: usize,
    /// The line, credentials left out.
    pub text: String,
    /// What is wrong with it.
    pub reason: LineReason,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineReason {
    /// It says nothing.
    #[error("nothing is named; expected [@tag] followed by a folder or a URL")]
    Empty,
    /// It begins with a space.
    #[error("the line begins with a space, and apk reads no further; remove it")]
    Indented,
    /// It holds a character that no place has.
    #[error("the character {0:?} can't stand here; remove it")]
    Control(char),
    /// Its first word is neither a keyword nor a place.
    #[error("`{0}` is no keyword; apk knows v2, v3, ndx and set")]
    Keyword(String),
    /// `set` has another option than `-default`.
    #[error("`{0}` is no option of set; it has -default alone")]
    Option(String),
    /// `set` is not followed by `key=value`.
    #[error(
        "a variable is set by `set [-default] key=value`; the key has letters, digits and `_`, begins with a letter and not with APK_"
    )]
    Definition,
    /// A variable that nobody set.
    #[error("the variable {0} is not set; set it before, or write its value")]
    Undefined(String),
    /// `${` without `}`, or a length that is no number.
    #[error("a variable is written `${{name}}`")]
    Expansion,
    /// There are more variables than anyone needs.
    #[error("more than {VARIABLES} variables are set")]
    Variables,
    /// A word has grown too long.
    #[error("it comes to more than {MAXIMUM_WORD} bytes")]
    Long,
    /// A tag without a name, or without a place.
    #[error("a tag is written `@name folder-or-URL`")]
    Tag,
    /// More tags than apk can tell apart.
    #[error("it is the {} tag and apk takes {MAXIMUM_TAGS}; use fewer tags", MAXIMUM_TAGS + 1)]
    Tags,
    /// More repositories than apk can tell apart.
    #[error(
        "it is the {} repository and apk takes {MAXIMUM_REPOSITORIES}; remove some",
        MAXIMUM_REPOSITORIES + 1
    )]
    Repositories,
    /// A path relative to nothing.
    #[error("`{0}` is a relative path, which apk refuses; write it from the root on, or as a URL")]
    Relative(String),
    /// `ndx` names the index itself.
    #[error("an index file has no components; name one index per line")]
    Components,
    /// A scheme that nothing is fetched by.
    #[error("{0}: is not supported; expected [@tag] followed by a folder or an http(s) URL")]
    Scheme(String),
    /// The URL can't be read.
    #[error("the URL can't be used: {0}")]
    Url(String),
    /// One repository belongs here.
    #[error("it names {0} repositories where one belongs")]
    Several(usize),
}

/// A file of repositories can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read the repositories of {}: {source}", path.display())]
pub struct ListError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Where a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// In a file: keywords count, relative paths do not.
    File,
    /// On a command line or in an image file: no variables are set here.
    Argument,
}

/// A reason and the byte at which it shows.
type Refused = (usize, LineReason);

impl RepositoryList {
    /// An empty list; `${APK_ARCH}` stands for `arch`.
    pub fn new(arch: impl Into<ArchName>) -> RepositoryList {
        RepositoryList::with(BTreeMap::from([(
            "APK_ARCH".to_owned(),
            arch.into().to_string(),
        )]))
    }

    fn with(variables: BTreeMap<String, String>) -> RepositoryList {
        RepositoryList {
            repositories: Vec::new(),
            problems: Vec::new(),
            variables,
            tags: Vec::new(),
        }
    }

    /// Reads a line of the command line (`-X`, `-r`), which messages call `option`: paths may be
    /// relative to the working folder.
    pub fn argument(&mut self, option: &str, text: &str) {
        self.line(option, 1, text.trim(), Standing::Argument);
    }

    /// Reads the lines of a file, which messages call `file`.
    pub fn file(&mut self, file: &str, text: &str) {
        for (number, line) in text.split('\n').enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                self.line(file, number + 1, line, Standing::File);
            }
        }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It can't be read, or is larger than 1 MiB.
    pub fn open(&mut self, path: &Path) -> Result<(), ListError> {
        let text = read(path)?;
        self.file(&path.display().to_string(), &text);
        Ok(())
    }

    /// Reads what apk reads of an installed root: [`FILE`], then the `*.list` files of
    /// [`FOLDERS`] in the order of their names. What is missing is passed over.
    ///
    /// # Errors
    /// A file is there and can't be read.
    pub fn open_root(&mut self, root: &Path) -> Result<(), ListError> {
        let failed = |path: &str| {
            let path = root.join(path);
            move |source| ListError { path, source }
        };
        let settings = Settings::of(root).map_err(failed(""))?;
        let is_list = |name: &str| name.ends_with(".list") && !name.starts_with('.');
        let lists = settings
            .list(&FOLDERS, is_list)
            .map_err(failed(FOLDERS[0]))?;
        for path in std::iter::once(FILE.to_owned()).chain(lists) {
            let Some(bytes) = settings.read(&path).map_err(failed(&path))? else {
                continue;
            };
            let text = String::from_utf8(bytes).map_err(|error| {
                failed(&path)(io::Error::new(io::ErrorKind::InvalidData, error))
            })?;
            self.file(&format!("/{path}"), &text);
        }
        Ok(())
    }

    /// The repositories so far, each once, in the order of their lines.
    pub fn repositories(&self) -> &[Repository] {
        &self.repositories
    }

    /// The lines that were no good.
    pub fn problems(&self) -> &[LineProblem] {
        &self.problems
    }

    /// The repositories, if every line was good.
    ///
    /// # Errors
    /// The lines that were not.
    pub fn finish(self) -> Result<Vec<Repository>, Vec<LineProblem>> {
        if self.problems.is_empty() {
            Ok(self.repositories)
        } else {
            Err(self.problems)
        }
    }

    fn line(&mut self, file: &str, number: usize, text: &str, standing: Standing) {
        if let Err((at, reason)) = self.read_line(text, standing) {
            let before = text.get(..at).unwrap_or(text);
            self.problems.push(LineProblem {
                file: file.to_owned(),
                line: number,
                column: before.chars().count() + 1,
                text: without_credentials(text),
                reason,
            });
        }
    }

    fn read_line(&mut self, text: &str, standing: Standing) -> Result<(), Refused> {
        for (at, character) in text.char_indices() {
            if character.is_control() && character != '\t' {
                return Err((at, LineReason::Control(character)));
            }
        }
        let mut words = Words { text, at: 0 };
        let mut word = words.next().ok_or((0, LineReason::Empty))?;
        if word.text.is_empty() {
            return Err((0, LineReason::Indented));
        }
        let mut layout = None;
        if standing == Standing::File && word.text == "set" {
            return self.set(words);
        }
        let keyword = match word.text {
            "v2" => Some(Layout::V2),
            "v3" => Some(Layout::V3),
            "ndx" => Some(Layout::Index),
            _ => None,
        };
        let keyword_end = words.at;
        match (keyword, standing) {
            (Some(found), Standing::File) => {
                layout = Some(found);
                word = words.next().ok_or((keyword_end, LineReason::Empty))?;
            }
            // A folder may be called v3.
            (Some(found), Standing::Argument) if !words.rest().is_empty() => {
                layout = Some(found);
                word = words.next().ok_or((keyword_end, LineReason::Empty))?;
            }
            (None, Standing::File) if is_keyword(word.text) => {
                let reason = if word.text.contains('/') || word.text.starts_with('.') {
                    LineReason::Relative(word.text.to_owned())
                } else {
                    LineReason::Keyword(word.text.to_owned())
                };
                return Err((word.at, reason));
            }
            _ => {}
        }
        let mut tag = None;
        if let Some(name) = word.text.strip_prefix('@') {
            let at = word.at;
            if name.is_empty() {
                return Err((at, LineReason::Tag));
            }
            tag = Some((at, name.to_owned()));
            word = words.next().ok_or((at, LineReason::Tag))?;
        }
        let layout = layout.unwrap_or_else(|| Layout::of(word.text));
        let mut components = words.rest();
        // A folder's name may have spaces; only in a file do words end there.
        if standing == Standing::Argument && !word.text.contains("://") {
            word.text = text[word.at..].trim_end_matches([' ', '\t']);
            components = "";
        }
        let components_at = words.at;
        if layout == Layout::Index && !components.is_empty() {
            return Err((components_at, LineReason::Components));
        }
        let base = self.expand(word.text, word.at)?;
        let base = match base.trim_end_matches('/') {
            "" if base.is_empty() => return Err((word.at, LineReason::Empty)),
            "" => "/",
            trimmed if trimmed.ends_with(':') => &base,
            trimmed => trimmed,
        };
        if standing == Standing::File && !is_place(base) {
            return Err((word.at, LineReason::Relative(base.to_owned())));
        }
        let places: Vec<String> = if components.is_empty() {
            vec![base.to_owned()]
        } else {
            self.expand(components, components_at)?
                .split([' ', '\t'])
                .map(|component| component.trim_matches('/'))
                .filter(|component| !component.is_empty())
                .map(|component| format!("{}/{component}", base.trim_end_matches('/')))
                .collect()
        };
        for place in places {
            let location = Location::parse(&place).map_err(|reason| (word.at, reason))?;
            if let Location::Folder(path) = &location
                && standing == Standing::File
                && !path.is_absolute()
            {
                return Err((word.at, LineReason::Relative(place)));
            }
            self.add(
                Repository {
                    location,
                    layout,
                    tag: tag.as_ref().map(|(_, name)| name.clone()),
                },
                tag.as_ref().map_or(word.at, |(at, _)| *at),
            )?;
        }
        Ok(())
    }

    fn add(&mut self, repository: Repository, at: usize) -> Result<(), Refused> {
        if let Some(tag) = &repository.tag
            && !self.tags.contains(tag)
        {
            if self.tags.len() == MAXIMUM_TAGS {
                return Err((at, LineReason::Tags));
            }
            self.tags.push(tag.clone());
        }
        if self.repositories.contains(&repository) {
            return Ok(());
        }
        if self.repositories.len() == MAXIMUM_REPOSITORIES {
            return Err((at, LineReason::Repositories));
        }
        self.repositories.push(repository);
        Ok(())
    }

    fn set(&mut self, mut words: Words<'_>) -> Result<(), Refused> {
        let mut overwrite = true;
        while words.rest().starts_with('-') {
            let at = words.at;
            match words.next() {
                Some(word) if word.text == "-default" => overwrite = false,
                Some(word) => return Err((at, LineReason::Option(word.text.to_owned()))),
                None => break,
            }
        }
        let (at, definition) = (words.at, words.rest());
        let (key, value) = definition
            .split_once('=')
            .ok_or((at, LineReason::Definition))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !key.starts_with(|first: char| first.is_ascii_alphabetic())
            || !key.bytes().all(plain)
            || key.starts_with("APK_")
        {
            return Err((at, LineReason::Definition));
        }
        let value = self.expand(value, at + key.len() + 1)?;
        if overwrite || !self.variables.contains_key(key) {
            if self.variables.len() == VARIABLES && !self.variables.contains_key(key) {
                return Err((at, LineReason::Variables));
            }
            self.variables.insert(key.to_owned(), value);
        }
        Ok(())
    }

    /// Puts in the values of `${name}` and, as apk has it, of `${name:length}`.
    fn expand(&self, text: &str, at: usize) -> Result<String, Refused> {
        let known = |key: &str| self.variables.get(key).cloned();
        substitute(text, known).map_err(|(inner, failure)| {
            let reason = match failure {
                Unsubstituted::Unknown(key) => LineReason::Undefined(key),
                Unsubstituted::Malformed => LineReason::Expansion,
                Unsubstituted::Long => LineReason::Long,
            };
            (at + inner, reason)
        })
    }
}

/// Why a text with variables came to nothing.
pub(super) enum Unsubstituted {
    /// Nobody knows this variable.
    Unknown(String),
    /// The braces or the length are wrong.
    Malformed,
    /// It came to more than [`MAXIMUM_WORD`].
    Long,
}

/// Puts values in place of `${name}` and their first bytes in place of `${name:length}`, as apk's
/// `apk_blob_subst` does.
pub(super) fn substitute(
    text: &str,
    value: impl Fn(&str) -> Option<String>,
) -> Result<String, (usize, Unsubstituted)> {
    let mut out = String::new();
    let mut at = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let start = at + before.len();
        let (inside, tail) = after
            .split_once('}')
            .ok_or((start, Unsubstituted::Malformed))?;
        let (key, length) = match inside.split_once(':') {
            Some((key, length)) => {
                let length = length
                    .parse::<usize>()
                    .map_err(|_| (start, Unsubstituted::Malformed))?;
                (key, Some(length))
            }
            None => (inside, None),
        };
        let found = value(key).ok_or_else(|| (start, Unsubstituted::Unknown(key.to_owned())))?;
        let shown = match length {
            Some(length) => found.get(..length).unwrap_or(&found),
            None => &found,
        };
        out.push_str(shown);
        if out.len() > MAXIMUM_WORD {
            return Err((start, Unsubstituted::Long));
        }
        at = start + "${".len() + inside.len() + "}".len();
        rest = tail;
    }
    out.push_str(rest);
    if out.len() > MAXIMUM_WORD {
        return Err((0, Unsubstituted::Long));
    }
    Ok(out)
}

/// The one repository of a text without keywords of files and without variables.
pub(super) fn single(text: &str) -> Result<Repository, (String, LineReason)> {
    let mut list = RepositoryList::with(BTreeMap::new());
    list.argument("", text);
    let shown = without_credentials(text);
    if let Some(problem) = list.problems.into_iter().next() {
        return Err((shown, problem.reason));
    }
    let count = list.repositories.len();
    match list.repositories.into_iter().next() {
        Some(repository) if count == 1 => Ok(repository),
        _ => Err((shown, LineReason::Several(count))),
    }
}

impl Layout {
    /// What a place is taken for when its line does not say.
    fn of(place: &str) -> Layout {
        if is_index_name(place) {
            Layout::Index
        } else {
            Layout::V2
        }
    }
}

fn is_index_name(place: &str) -> bool {
    place.ends_with(".adb") || place.ends_with(".tar.gz")
}

/// Whether a line with this place and no keyword would name an index.
pub(super) fn names_index(location: &Location) -> bool {
    is_index_name(&location.to_string())
}

impl Location {
    /// Reads a path, a `file:` URL, or a URL of a scheme that can be fetched.
    ///
    /// # Errors
    /// The URL is none, or of another scheme.
    pub fn parse(place: &str) -> Result<Location, LineReason> {
        if let Some(path) = place.strip_prefix("file:") {
            // apk takes all that follows for a path, a host's name too.
            let path = match path.strip_prefix('/') {
                Some(rest) => format!("/{}", rest.trim_start_matches('/')),
                None => path.to_owned(),
            };
            return Ok(Location::Folder(path.into()));
        }
        if !place.contains("://") {
            return Ok(Location::Folder(place.into()));
        }
        let mut url = Url::parse(place).map_err(|error| LineReason::Url(error.to_string()))?;
        // `..` leaves a slash behind.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        if !store::can_fetch(url.scheme()) {
            return Err(LineReason::Scheme(url.scheme().to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(LineReason::Url("it names no host".to_owned()));
        }
        Ok(Location::Url(url))
    }
}

fn is_place(word: &str) -> bool {
    word.starts_with('/') || word.find("://").is_some_and(|at| at > 0)
}

fn is_keyword(word: &str) -> bool {
    !word.starts_with(['@', '$']) && !is_place(word)
}

struct Word<'t> {
    text: &'t str,
    at: usize,
}

struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next word, which only is empty where the line begins with a space.
    fn next(&mut self) -> Option<Word<'t>> {
        let (at, rest) = (self.at, self.rest());
        if rest.is_empty() {
            return None;
        }
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(end);
        let spaces = tail.len() - tail.trim_start_matches([' ', '\t']).len();
        self.at = at + end + spaces;
        Some(Word { text, at })
    }
}

fn read(path: &Path) -> Result<String, ListError> {
    let failed = |source| ListError {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let mut file = File::open(path).map_err(failed)?.take(MAXIMUM_FILE + 1);
    let count = file.read_to_string(&mut text).map_err(failed)?;
    if count as u64 > MAXIMUM_FILE {
        let large = format!("it is larger than {MAXIMUM_FILE} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, large)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
