//! Names that come again.

use crate::error::DataError;
use crate::id::Name;

/// Names met lately. What is decoded has the same few again and again; by this they share their memory.
///
/// ```
/// use bytes::Bytes;
/// use syncro_core::{Malformed, Names, Transaction};
///
/// fn decode_all(encoded: Vec<Bytes>) -> Result<Vec<Transaction>, Malformed> {
///     let mut names = Names::default();
///     encoded.into_iter().map(|bytes| Transaction::decode_among(bytes, &mut names)).collect()
/// }
/// # assert!(decode_all(vec![Bytes::new()]).is_err());
/// ```
#[derive(Debug, Default)]
pub struct Names {
    recent: Vec<Name>,
    /// The place after that of the last name found: names come in the same order, scribe after scribe.
    next: usize,
    oldest: usize,
}

impl Names {
    /// The name that a text is, if it may be one.
    pub(crate) fn name(&mut self, text: &str) -> Result<Name, DataError> {
        let is_it = |name: &Name| name.as_str() == text;
        let place = match self.recent.get(self.next) {
            Some(name) if is_it(name) => Some(self.next),
            _ => self.recent.iter().position(is_it),
        };
        let place = match place {
            Some(place) => place,
            None => self.remember(Name::new(text)?),
        };
        self.next = place + 1;
        if self.next == self.recent.len() {
            self.next = 0;
        }
        Ok(self.recent[place].clone())
    }

    /// Remembers a name, in place of the oldest where there are enough, and returns where.
    fn remember(&mut self, name: Name) -> usize {
        if self.recent.len() < RECENT_MAX {
            self.recent.push(name);
            return self.recent.len() - 1;
        }
        let place = self.oldest;
        self.recent[place] = name;
        self.oldest = (place + 1) % RECENT_MAX;
        place
    }
}

/// More than the fields of most models, and so few that to look through them costs less than a new name.
const RECENT_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_one_asked_for_however_many_came_before() {
        let mut names = Names::default();
        for round in 0..3 {
            for number in 0..3 * RECENT_MAX {
                let text = format!("field {}", number % (RECENT_MAX + round));
                assert_eq!(names.name(&text).unwrap().as_str(), text);
            }
        }
        assert_eq!(names.recent.len(), RECENT_MAX);
    }

    #[test]
    fn names_that_come_again_share_their_memory() {
        let mut names = Names::default();
        let first: Vec<Name> = ["a", "b", "c"].map(|text| names.name(text).unwrap()).into();
        for place in [2, 0, 1, 2, 1] {
            let again = names.name(first[place].as_str()).unwrap();
            assert_eq!(again.as_str().as_ptr(), first[place].as_str().as_ptr());
        }
    }

    #[test]
    fn what_is_no_name_is_not_remembered() {
        let mut names = Names::default();
        assert!(names.name("").is_err());
        assert!(names.name(&"x".repeat(256)).is_err());
        assert!(names.recent.is_empty());
    }
}
