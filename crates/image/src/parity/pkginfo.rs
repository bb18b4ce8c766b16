/// `.PKGINFO` as apko reads it: as an INI file, in which `#` and `;` end a value and commas part one.
pub(super) struct PkgInfo(Vec<(String, String)>);

impl PkgInfo {
    pub(super) fn parse(text: &str) -> PkgInfo {
        let lines = text.lines().filter_map(|line| {
            if line.trim_start().starts_with(['#', ';']) {
                return None;
            }
            let (key, value) = line.split_once('=')?;
            let value = value.split(['#', ';']).next().unwrap_or_default();
            Some((key.trim().to_owned(), value.trim().to_owned()))
        });
        PkgInfo(lines.collect())
    }

    /// The first value of a key.
    pub(super) fn value(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map_or("", |(_, value)| value)
    }

    /// All values of a key.
    pub(super) fn list<'i>(&'i self, key: &'i str) -> impl Iterator<Item = &'i str> + 'i {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }
}
