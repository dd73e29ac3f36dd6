//! The words of texts, and of what is asked for: the same letters are the same word, however they were written.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// How many words one search may have.
const TERMS_MAX: usize = 16;
/// Characters of a word: of longer ones the first so many count, wherever they stand.
const WORD_CHARS_MAX: usize = 40;
/// Characters that the beginning of a word has at least.
const PREFIX_CHARS_MIN: usize = 2;

/// Letters and digits without anything between them, in lower case; ideographs one by one.
fn split(text: &str) -> Vec<String> {
    // What was written with combining marks is the same word.
    let text: Cow<'_, str> = if text.is_ascii() { text.into() } else { text.nfc().collect::<String>().into() };
    let parts = text.unicode_words().flat_map(|part| part.split(|c: char| !c.is_alphanumeric()));
    let lower = |word: &str| word.chars().flat_map(char::to_lowercase).take(WORD_CHARS_MAX).collect();
    parts.filter(|word| !word.is_empty()).map(lower).collect()
}

/// The different words of something, up to a number of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(BTreeSet<String>);

impl Words {
    /// Takes in the words of a text, as long as there are fewer than `most` in all; whether more could follow.
    pub fn add(&mut self, text: &str, most: usize) -> bool {
        for word in split(text) {
            if self.0.len() >= most {
                return false;
            }
            self.0.insert(word);
        }
        self.0.len() < most
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// All of them, as they are stored.
    pub(crate) fn joined(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// What a search asks of a thing: a word of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The word, or how it begins.
    pub word: Arc<str>,
    /// It begins like that.
    pub prefix: bool,
}

/// What was asked for cannot be looked for; the text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermError {
    /// Nothing in it is a word.
    #[error("has no letter and no digit to look for")]
    Nothing,
    /// There are too many words.
    #[error("must be at most {TERMS_MAX} words")]
    TooMany,
    /// Too many words begin like that.
    #[error("must have at least {PREFIX_CHARS_MIN} letters or digits before `*`")]
    TooShort,
}

/// The terms of a search: words that all have to be found; `ord*` is found by how words begin.
///
/// # Errors
/// There is no word in it, there are too many, or one is too short for a beginning.
pub fn terms(text: &str) -> Result<Vec<Term>, TermError> {
    let mut terms: Vec<Term> = Vec::new();
    for part in text.split_whitespace() {
        let mut words: Vec<Term> =
            split(part).into_iter().map(|word| Term { word: word.into(), prefix: false }).collect();
        if part.ends_with('*') {
            match words.last_mut() {
                Some(last) if last.word.chars().count() >= PREFIX_CHARS_MIN => last.prefix = true,
                _ => return Err(TermError::TooShort),
            }
        }
        for term in words {
            if !terms.contains(&term) {
                terms.push(term);
            }
        }
        if terms.len() > TERMS_MAX {
            return Err(TermError::TooMany);
        }
    }
    if terms.is_empty() { Err(TermError::Nothing) } else { Ok(terms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_into_words() {
        let long = "x".repeat(WORD_CHARS_MAX + 3);
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" -- {}\n", &[]),
            ("ORD-4711", &["ord", "4711"]),
            ("grace@example.org", &["grace", "example", "org"]),
            ("charge_card chargeCard", &["charge", "card", "chargecard"]),
            ("3.14 can't", &["3", "14", "can", "t"]),
            ("Straße ÉCOLE E\u{301}cole", &["straße", "école", "école"]),
            ("注文 4711", &["注", "文", "4711"]),
            (&long, &[&long[..WORD_CHARS_MAX]]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text), *words, "{text:?}");
        }
    }

    #[test]
    fn words_are_kept_once_and_not_without_end() {
        let mut words = Words::default();
        assert!(words.add("b a b", 3));
        assert!(!words.add("c d", 3));
        assert_eq!(words.joined(), "a b c");
    }

    #[test]
    fn searches_are_terms() {
        let word = |word: &str| Term { word: word.into(), prefix: false };
        let begins = |word: &str| Term { word: word.into(), prefix: true };
        let many = (0..=TERMS_MAX).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let cases: Vec<(&str, Result<Vec<Term>, TermError>)> = vec![
            ("order", Ok(vec![word("order")])),
            ("Order  order ORDER*", Ok(vec![word("order"), begins("order")])),
            ("ord-47*", Ok(vec![word("ord"), begins("47")])),
            ("a* b", Err(TermError::TooShort)),
            ("*", Err(TermError::TooShort)),
            ("or*der", Ok(vec![word("or"), word("der")])),
            ("", Err(TermError::Nothing)),
            ("- , -", Err(TermError::Nothing)),
            (&many, Err(TermError::TooMany)),
        ];
        for (text, expected) in cases {
            assert_eq!(terms(text), expected, "{text:?}");
        }
    }
}
