//! Templates of channels, checked against the fields that they name.

use darling::{Error, Result};

use crate::attributes::{Kind, Role};
use crate::input::Body;
use crate::names::{self, Text};

/// Checks the templates of a model.
///
/// # Errors
///
/// All that is wrong with them.
pub(crate) fn checked(templates: Vec<Text>, body: &Body) -> Result<Vec<String>> {
    let mut errors = Error::accumulator();
    let mut channels = Vec::new();
    for template in templates {
        let span = template.span;
        if let Some(text) = errors.handle(names::checked("channel", template)) {
            match problem(&text, body) {
                Some(problem) => errors.push(Error::custom(problem).with_span(&span)),
                None => channels.push(text),
            }
        }
    }
    errors.finish_with(channels)
}

fn problem(template: &str, body: &Body) -> Option<String> {
    let mut rest = template;
    while let Some((plain, after)) = rest.split_once('{') {
        let Some((field, next)) = after.split_once('}').filter(|(field, _)| !field.is_empty())
        else {
            return Some("between `{` and `}` stands the name of a field, or `id`".to_owned());
        };
        if plain.contains('}') {
            break;
        }
        let kind = body.fields.iter().find_map(|known| match &known.role {
            Role::Recorded(name, kind) if name == field => Some(kind),
            _ => None,
        });
        match kind {
            _ if field == "id" => {}
            Some(Kind::Value | Kind::ValueOrDefault | Kind::Set) => {}
            Some(Kind::Map | Kind::Counter) => {
                return Some(format!(
                    "`{field}` is no plain value and no set: it names no channel"
                ));
            }
            None => return Some(format!("no field is recorded as `{field}`")),
        }
        rest = next;
    }
    rest.contains('}').then(|| "a `}` has no `{` before it".to_owned())
}
