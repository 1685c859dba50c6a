//! From a checked model to its implementation.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Ident;
use syn::spanned::Spanned;

use crate::attributes::{Kind, Role};
use crate::input::{Field, Model};

/// The implementation of the trait.
pub(crate) fn implementation(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let (impl_generics, type_generics, where_clause) = model.generics.split_for_impl();
    let name = &model.head.name;
    let channels = &model.channels;
    let path = &model.head.path;
    let id = &model.body.id.ident;
    let id_type = &model.body.id.ty;
    let writes = model.body.fields.iter().map(write);
    let reads = model.body.fields.iter().map(read);
    // Parameters are hygienic: no constant of the application's can stand in for them.
    quote_spanned! {Span::mixed_site()=>
        // Fields that the application has deprecated are recorded all the same.
        #[automatically_derived]
        #[allow(deprecated)]
        impl #impl_generics #path::ScribeModel for #ident #type_generics #where_clause {
            const MODEL: &'static str = #name;

            const CHANNELS: &'static [&'static str] = &[#(#channels),*];

            type Id = #id_type;

            fn id(&self) -> &Self::Id {
                &self.#id
            }

            fn write(
                &self,
                fields: &mut #path::FieldsWriter<'_>,
            ) -> ::core::result::Result<(), #path::DataError> {
                #(#writes)*
                ::core::result::Result::Ok(())
            }

            fn read(
                id: Self::Id,
                fields: &#path::FieldsReader<'_>,
            ) -> ::core::result::Result<Self, #path::DataError> {
                ::core::result::Result::Ok(Self {
                    #id: id,
                    #(#reads,)*
                })
            }
        }
    }
}

/// The statement that writes a field, if it is recorded.
fn write(field: &Field) -> Option<TokenStream> {
    let Role::Recorded(name, kind) = &field.role else {
        return None;
    };
    let (span, ident) = place(field);
    Some(match kind {
        Kind::Value | Kind::ValueOrDefault => {
            quote_spanned!(span=> fields.value(#name, &self.#ident)?;)
        }
        Kind::Set => quote_spanned!(span=> fields.set(#name, &self.#ident)?;),
        Kind::Map => quote_spanned!(span=> fields.map(#name, &self.#ident)?;),
        Kind::Counter => quote_spanned!(span=> fields.counter(#name, self.#ident)?;),
    })
}

/// The initialiser that reads a field.
fn read(field: &Field) -> TokenStream {
    let (span, ident) = place(field);
    let value = match &field.role {
        Role::Skipped => quote_spanned!(span=> ::core::default::Default::default()),
        Role::Recorded(name, kind) => match kind {
            Kind::Value => quote_spanned!(span=> fields.value(#name)?),
            Kind::ValueOrDefault => quote_spanned!(span=> fields.value_or_default(#name)?),
            Kind::Set => quote_spanned!(span=> fields.set(#name)?),
            Kind::Map => quote_spanned!(span=> fields.map(#name)?),
            Kind::Counter => quote_spanned!(span=> fields.counter(#name)?),
        },
    };
    quote_spanned!(span=> #ident: #value)
}

/// The span of a field's type, where the compiler shows what the type lacks, and the field's name there.
fn place(field: &Field) -> (Span, Ident) {
    let span = Span::mixed_site().located_at(field.ty.span());
    let mut ident = field.ident.clone();
    ident.set_span(span);
    (span, ident)
}
