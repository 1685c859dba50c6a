//! `#[scribe(...)]` as it is written.

use darling::util::path_to_string;
use darling::{Error, FromAttributes, FromMeta, Result};
use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Ident, Lit, Meta, Path};

use crate::names::{self, Text};

/// The attributes of a struct.
#[derive(FromAttributes)]
#[darling(attributes(scribe))]
pub(crate) struct OfStruct {
    pub(crate) model: Option<Text>,
    #[darling(multiple, rename = "channel")]
    pub(crate) channels: Vec<Text>,
    #[darling(rename = "crate")]
    pub(crate) path: Option<Path>,
}

/// The attributes of a field.
#[derive(FromAttributes)]
#[darling(attributes(scribe))]
pub(crate) struct OfField {
    id: Option<Word>,
    set: Option<Word>,
    map: Option<Word>,
    counter: Option<Word>,
    default: Option<Word>,
    rename: Option<Text>,
    skip: Option<Word>,
}

/// What becomes of a field.
pub(crate) enum Role {
    /// It is recorded under this name.
    Recorded(String, Kind),
    Skipped,
}

impl Role {
    /// The name under which it is recorded.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Recorded(name, _) => Some(name),
            Self::Skipped => None,
        }
    }
}

/// How a field is recorded and read.
pub(crate) enum Kind {
    Value,
    ValueOrDefault,
    Set,
    Map,
    Counter,
}

impl OfField {
    /// Whether the field is marked as the id.
    pub(crate) fn is_id(&self) -> bool {
        self.id.is_some()
    }

    /// What becomes of a field that is not the id, and where its name stands.
    ///
    /// # Errors
    ///
    /// The attributes that contradict each other, or a bad name.
    pub(crate) fn role(self, ident: &Ident) -> Result<(Role, Span)> {
        let words = self.words();
        if self.skip.is_some() {
            let others = words.into_iter().filter(|(word, _)| *word != "skip");
            let mut errors = Error::accumulator();
            errors.extend(others.map(|(word, span)| {
                let problem = format!("a skipped field is not recorded: remove `{word}` or `skip`");
                Error::custom(problem).with_span(&span)
            }));
            return errors.finish_with((Role::Skipped, ident.span()));
        }
        let name =
            self.rename.unwrap_or_else(|| Text::new(ident.unraw().to_string(), ident.span()));
        let span = name.span;
        match (kind(words), names::checked("field", name)) {
            (Ok(kind), Ok(name)) => Ok((Role::Recorded(name, kind), span)),
            (Err(kind), Err(name)) => Err(Error::multiple(vec![kind, name])),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        }
    }

    /// An error for each attribute that an id does not take.
    pub(crate) fn not_for_an_id(&self) -> Vec<Error> {
        let words = self.words().into_iter();
        let errors = words.map(|(word, span)| {
            let problem = format!(
                "the id is no field of the record: remove `{word}`, or mark another field with \
                 `#[scribe(id)]`"
            );
            Error::custom(problem).with_span(&span)
        });
        errors.collect()
    }

    /// The error for an id beside another.
    pub(crate) fn second_id(&self, ident: &Ident, first: &Ident) -> Error {
        let problem = format!("a model has one id, and `{first}` is it already: remove this mark");
        let span = self.id.as_ref().map_or(ident.span(), |word| word.0);
        Error::custom(problem).with_span(&span)
    }

    /// The words that are there, but for `id`, and where.
    fn words(&self) -> Vec<(&'static str, Span)> {
        let words = [
            ("set", &self.set),
            ("map", &self.map),
            ("counter", &self.counter),
            ("default", &self.default),
            ("skip", &self.skip),
        ];
        let words = words.into_iter().filter_map(|(name, word)| Some((name, word.as_ref()?.0)));
        let rename = self.rename.iter().map(|name| ("rename", name.span));
        words.chain(rename).collect()
    }
}

/// The kind that words ask for.
fn kind(words: Vec<(&'static str, Span)>) -> Result<Kind> {
    let mut kinds = words.into_iter().filter(|(word, _)| *word != "rename");
    let Some((word, _)) = kinds.next() else {
        return Ok(Kind::Value);
    };
    let kind = match word {
        "set" => Kind::Set,
        "map" => Kind::Map,
        "counter" => Kind::Counter,
        _ => Kind::ValueOrDefault,
    };
    let mut errors = Error::accumulator();
    errors.extend(kinds.map(|(other, span)| {
        let problem = match other {
            "default" => {
                format!("only a plain value takes a default: remove `default` or `{word}`")
            }
            _ => format!("a field has one kind: remove `{word}` or `{other}`"),
        };
        Error::custom(problem).with_span(&span)
    }));
    errors.finish_with(kind)
}

/// An attribute that stands alone, such as `set`.
struct Word(Span);

impl FromMeta for Word {
    fn from_meta(item: &Meta) -> Result<Self> {
        match item {
            Meta::Path(path) => Ok(Self(path.span())),
            _ => Err(misshapen(item, "")),
        }
    }
}

impl FromMeta for Text {
    fn from_meta(item: &Meta) -> Result<Self> {
        match item {
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                    Ok(Self::new(text.value(), text.span()))
                }
                _ => Err(misshapen(item, " = \"...\"")),
            },
            _ => Err(misshapen(item, " = \"...\"")),
        }
    }
}

fn misshapen(item: &Meta, shape: &str) -> Error {
    let word = path_to_string(item.path());
    Error::custom(format!("write this as `{word}{shape}`")).with_span(item)
}
