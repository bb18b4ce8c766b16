/// The candidate closest to `word`, if one is close enough to have been meant: at most a third of
/// its letters differ. Words of more than 100 letters are compared with nothing.
pub fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let length = word.chars().take(101).count();
    candidates
        .into_iter()
        .filter(|candidate| length <= 100 && candidate.len() <= 400)
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
        let long = "x".repeat(101);
        assert_eq!(did_you_mean(&long, [long.as_str()]), None);
    }
}
