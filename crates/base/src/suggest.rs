/// The candidate closest to `word`, if one is close enough to have been meant: at most a third of
/// its letters differ.
pub fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_only() {
        let keys = ["package", "pipeline", "subpackages", "test"];
        assert_eq!(did_you_mean("pipelin", keys), Some("pipeline"));
        assert_eq!(did_you_mean("subpackage", keys), Some("subpackages"));
        assert_eq!(did_you_mean("tset", keys), Some("test"));
        assert_eq!(did_you_mean("environment", keys), None);
    }
}
