//! Names of models and fields.

use darling::{Error, Result};
use proc_macro2::Span;

/// Bytes of a name: `syncro_core::limits::NAME_BYTES_MAX`, to which the tests hold it.
const NAME_BYTES_MAX: usize = 255;

/// A text and where it stands.
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Text {
    pub(crate) fn new(text: String, span: Span) -> Self {
        Self { text, span }
    }
}

/// Checks the length of a name.
///
/// # Errors
///
/// An error at the name, which says what to do.
pub(crate) fn checked(owner: &str, name: Text) -> Result<String> {
    let problem = match name.text.len() {
        0 => format!("the {owner}'s name is empty: give it 1 to {NAME_BYTES_MAX} bytes"),
        1..=NAME_BYTES_MAX => return Ok(name.text),
        bytes => {
            format!("the {owner}'s name has {bytes} bytes: shorten it to at most {NAME_BYTES_MAX}")
        }
    };
    Err(Error::custom(problem).with_span(&name.span))
}

/// Turns a type's name into snake case. A run of capitals is one word: `HTTPPage` is `http_page`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut chars = name.chars().peekable();
    let mut last: Option<char> = None;
    while let Some(letter) = chars.next() {
        let begins_word = letter.is_uppercase()
            && last.is_some_and(|last| {
                let ends_run = chars.peek().is_some_and(|next| next.is_lowercase());
                last != '_' && (!last.is_uppercase() || ends_run)
            });
        if begins_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
        last = Some(letter);
    }
    snake
}
