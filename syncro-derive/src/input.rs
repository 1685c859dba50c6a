//! From the tokens of a struct to a checked model.

use std::collections::BTreeSet;

use darling::{Error, FromAttributes, Result};
use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Fields, FieldsNamed, Generics, Ident, Path, Type, parse_quote};

use crate::attributes::{Kind, OfField, OfStruct, Role};
use crate::channels;
use crate::names::{self, Text};

/// A struct that can be a model.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// The templates of its channels.
    pub(crate) channels: Vec<String>,
}

/// What a model is called, and where its trait is found.
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) path: Path,
    channels: Vec<Text>,
}

/// What a model is made of.
pub(crate) struct Body {
    pub(crate) id: Id,
    /// All fields but the id.
    pub(crate) fields: Vec<Field>,
}

/// The field that is the id.
pub(crate) struct Id {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
}

/// A field that is not the id.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) role: Role,
}

impl Model {
    /// Reads and checks a struct.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub(crate) fn of(input: DeriveInput) -> Result<Self> {
        let named = named_fields(&input)?;
        match (Head::of(&input), Body::of(&input.ident, named)) {
            (Ok(mut head), Ok(body)) => {
                let channels = channels::checked(std::mem::take(&mut head.channels), &body)?;
                Ok(Self { ident: input.ident, generics: input.generics, head, body, channels })
            }
            (Err(in_head), Err(in_body)) => Err(Error::multiple(vec![in_head, in_body])),
            (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
        }
    }
}

fn named_fields(input: &DeriveInput) -> Result<&FieldsNamed> {
    let advice = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Ok(fields),
            Fields::Unnamed(_) => "name this struct's fields, for records hold fields by name",
            Fields::Unit => "give this struct an id: a field named `id`",
        },
        Data::Enum(_) => "make this enum a field of a struct that has an id",
        Data::Union(_) => "make this union a struct",
    };
    let problem = format!("`ScribeModel` is derived for structs with named fields: {advice}");
    Err(Error::custom(problem).with_span(&input.ident))
}

impl Head {
    fn of(input: &DeriveInput) -> Result<Self> {
        let attributes = OfStruct::from_attributes(&input.attrs)?;
        let name = attributes.model.unwrap_or_else(|| {
            let name = names::snake_case(&input.ident.unraw().to_string());
            Text::new(name, input.ident.span())
        });
        Ok(Self {
            name: names::checked("model", name)?,
            path: attributes.path.unwrap_or_else(|| parse_quote!(::syncro)),
            channels: attributes.channels,
        })
    }
}

impl Body {
    fn of(model: &Ident, named: &FieldsNamed) -> Result<Self> {
        let mut errors = Error::accumulator();
        let read = named.named.iter().filter_map(|field| {
            let attributes = errors.handle(OfField::from_attributes(&field.attrs))?;
            Some((field.ident.clone()?, field.ty.clone(), attributes))
        });
        let read: Vec<_> = read.collect();
        let is_any_unread = read.len() < named.named.len();
        let is_any_marked = read.iter().any(|(_, _, attributes)| attributes.is_id());
        let (ids, others): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|(ident, _, attributes)| {
                attributes.is_id() || (!is_any_marked && ident.unraw() == "id")
            });

        let mut fields = Vec::new();
        let mut taken = BTreeSet::new();
        for (ident, ty, attributes) in others {
            let role = attributes.role(&ident);
            let role = role.and_then(|(role, span)| unique(role, span, &mut taken));
            let role = role.and_then(|role| counted(role, &ty));
            if let Some(role) = errors.handle(role) {
                fields.push(Field { ident, ty, role });
            }
        }
        // Records have their fields in this order: types that write and read them so do it quickest.
        fields.sort_by(|one, other| one.role.name().cmp(&other.role.name()));
        let mut id: Option<Id> = None;
        for (ident, ty, attributes) in ids {
            errors.extend(attributes.not_for_an_id());
            match &id {
                None => id = Some(Id { ident, ty }),
                Some(first) => errors.push(attributes.second_id(&ident, &first.ident)),
            }
        }
        match id {
            Some(id) => errors.finish_with(Self { id, fields }),
            None => {
                // A field that could not be read may be the id: its own error is enough.
                if !is_any_unread {
                    errors.push(no_id(model));
                }
                Err(Error::multiple(errors.into_inner()))
            }
        }
    }
}

/// Checks that no earlier field is recorded under the same name.
fn unique(role: Role, span: Span, taken: &mut BTreeSet<String>) -> Result<Role> {
    match &role {
        Role::Recorded(name, _) if !taken.insert(name.clone()) => {
            let problem = format!(
                "another field is recorded as `{name}` already: give this one another name with \
                 `#[scribe(rename = \"...\")]`"
            );
            Err(Error::custom(problem).with_span(&span))
        }
        _ => Ok(role),
    }
}

/// Checks that a counter is not of a type that cannot be `i64`. Of one with a name of the application's own, the compiler
/// knows more.
fn counted(role: Role, ty: &Type) -> Result<Role> {
    let is_other = |ty: &Type| match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            !last.arguments.is_none() || NO_COUNTERS.iter().any(|name| last.ident == name)
        }),
        Type::Array(_) | Type::Reference(_) | Type::Slice(_) | Type::Tuple(_) => true,
        _ => false,
    };
    match &role {
        Role::Recorded(_, Kind::Counter) if is_other(ty) => {
            let problem = "a counter is an `i64`: give the field that type, or remove `counter`";
            Err(Error::custom(problem).with_span(ty))
        }
        _ => Ok(role),
    }
}

/// Types of the language and its prelude that people may want to count in.
const NO_COUNTERS: [&str; 15] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i128", "isize", "f32", "f64",
    "bool", "String",
];

fn no_id(model: &Ident) -> Error {
    let problem = "a model needs an id: name a field `id`, or mark one with `#[scribe(id)]`";
    Error::custom(problem).with_span(model)
}
