//! One declaration per mapping of the file: the struct, its keys, and their decoding.

/// Declares structs that decode from mappings, each key `required`, `optional` (an `Option`) or
/// defaulted (`value`). Unknown keys are problems.
///
/// ```ignore
/// record! {
///     /// A checklist.
///     Checks as "checks" {
///         /// Linters that only warn.
///         value disabled: Vec<Text> = "disabled",
///     }
/// }
/// ```
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        $name:ident as $what:literal {
            $($(#[doc = $doc:literal])* $kind:ident $field:ident : $type:ty = $key:literal,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: record!(@type $kind $type),)*
        }

        impl yaml::Decode for $name {
            fn decode(node: &yaml::Node, decoder: &mut yaml::Decoder) -> Option<$name> {
                let mut fields = yaml::Fields::of(node, $what, decoder)?;
                $(let $field = record!(@take $kind fields decoder $key);)*
                fields.finish(decoder);
                Some($name { $($field: record!(@keep $kind $field),)* })
            }
        }

        impl super::shape::Shape for $name {
            fn item(&self) -> Option<yaml::Item> {
                let mut entries = Vec::new();
                $(entries.extend(self.$field.item().map(|item| ($key.to_owned(), item)));)*
                (!entries.is_empty()).then_some(yaml::Item::Map(entries))
            }

            fn form() -> super::form::Form {
                const FIELDS: &[super::form::FieldForm] = &[$(super::form::FieldForm {
                    key: $key,
                    about: &[$($doc),*],
                    is_required: record!(@required $kind),
                    form: <$type as super::shape::Shape>::form,
                },)*];
                super::form::Form::Record(FIELDS)
            }

            fn change_texts(&mut self, change: &mut dyn FnMut(&mut super::text::Text)) {
                $(self.$field.change_texts(change);)*
            }
        }
    )*};
    (@type optional $type:ty) => { Option<$type> };
    (@type $kind:ident $type:ty) => { $type };
    (@required required) => { true };
    (@required $kind:ident) => { false };
    (@take required $fields:ident $decoder:ident $key:literal) => {
        $fields.required($key, $decoder)
    };
    (@take optional $fields:ident $decoder:ident $key:literal) => {
        $fields.optional($key, $decoder)
    };
    (@take value $fields:ident $decoder:ident $key:literal) => {
        $fields.or_default($key, $decoder)
    };
    // Where a required value is missing or wrong, the rest is still looked at: the problem is told,
    // so that nobody gets to see the stand-in.
    (@keep required $field:ident) => { $field.unwrap_or_default() };
    (@keep $kind:ident $field:ident) => { $field };
}

pub(crate) use record;
