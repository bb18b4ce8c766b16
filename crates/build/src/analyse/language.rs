//! Modules of languages that need the language's own package, and documentation that needs a
//! reader.

use archive::tree::TreePath;

use super::{Analysis, folder};

impl Analysis<'_> {
    fn declares(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.package.runtime.iter().any(|need| wanted(need))
    }

    /// Manual pages need `man-db`, info pages `texinfo`, in packages that are called `-doc`.
    pub(super) fn documentation(&mut self, path: &TreePath) {
        if !self.package.name.ends_with("-doc") {
            return;
        }
        let reader = match folder(path) {
            "usr/share/man" => "man-db",
            "usr/share/info" => "texinfo",
            _ => return,
        };
        self.found.runtime.insert(reader.to_owned());
    }

    /// `usr/lib/perl5/vendor_perl` needs `perl~5`.
    pub(super) fn perl(&mut self) {
        let version = self.package.tree.iter().find_map(|(path, _)| {
            let below = below_library(path)?;
            let (version, module) = below.strip_prefix("perl")?.split_once('/')?;
            let fits = version.starts_with(|letter: char| letter.is_ascii_digit())
                && !module.contains('/')
                && module.ends_with("_perl");
            fits.then_some((path, version))
        });
        if let Some((path, version)) = version
            && !self.declares(|need| need == "perl")
            && self.checked(path, version)
        {
            self.found.runtime.insert(format!("perl~{version}"));
        }
    }

    /// `usr/lib/python3.12/site-packages` needs `python-3.12-base`.
    pub(super) fn python(&mut self) {
        let version = self
            .package
            .tree
            .iter()
            .filter(|(path, node)| path.file_name() == "site-packages" && node.is_directory())
            .filter_map(|(path, _)| {
                let parent = folder(path).rsplit('/').next()?;
                Some((path, parent.strip_prefix("python")?))
            })
            .last();
        if let Some((path, version)) = version
            && !version.is_empty()
            && !self.declares(|need| need.starts_with("python"))
            && self.checked(path, version)
        {
            self.found.runtime.insert(format!("python-{version}-base"));
        }
    }

    /// `usr/lib/ruby/gems/3.2.0/gems` needs `ruby-3.2`.
    pub(super) fn ruby(&mut self) {
        let version = self.package.tree.iter().find_map(|(path, _)| {
            let version = below_library(path)?
                .strip_prefix("ruby/gems/")?
                .strip_suffix("/gems")?;
            let parts: Vec<&str> = version.split('.').collect();
            let digits = |part: &&str| part.starts_with(|letter: char| letter.is_ascii_digit());
            match parts.as_slice() {
                [major, minor, ..] if parts.len() >= 3 && parts.iter().all(digits) => {
                    Some((path, format!("{major}.{minor}")))
                }
                _ => None,
            }
        });
        if let Some((path, version)) = version
            && !self.declares(|need| need == "ruby" || need.starts_with("ruby-"))
            && self.checked(path, &version)
        {
            self.found.runtime.insert(format!("ruby-{version}"));
        }
    }
}

/// What of a path is below `usr/lib` or `lib`.
fn below_library(path: &TreePath) -> Option<&str> {
    let path = path.as_str();
    path.strip_prefix("usr/")
        .unwrap_or(path)
        .strip_prefix("lib/")
}
