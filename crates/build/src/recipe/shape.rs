//! What every type of a recipe as written can do: be written again in the format's shape, and have
//! its texts changed.

use yaml::{Item, Spanned};

use super::form::Form;
use super::text::{Duration, Text, TextMap};
use super::update::Period;
use super::written::{Cpe, NamedList};

/// A part of a recipe as written.
pub(crate) trait Shape {
    /// It under the keys it was read from, in the order they are declared in; `None` when it says
    /// nothing.
    fn item(&self) -> Option<Item>;

    /// What may be written.
    fn form() -> Form
    where
        Self: Sized;

    /// Calls `change` with each text that is a value: keys stay.
    fn change_texts(&mut self, _change: &mut dyn FnMut(&mut Text)) {}
}

impl Shape for bool {
    fn item(&self) -> Option<Item> {
        self.then_some(Item::Bool(true))
    }

    fn form() -> Form {
        Form::Flag
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Shape for $type {
            fn item(&self) -> Option<Item> {
                let value = i64::try_from(*self).unwrap_or(i64::MAX);
                (value != 0).then_some(Item::Integer(value))
            }

            fn form() -> Form {
                if <$type>::MIN == 0 {
                    Form::Natural
                } else {
                    Form::Integer
                }
            }
        }
    )*};
}

integers!(u32 u64 i64);

impl Shape for Text {
    fn item(&self) -> Option<Item> {
        (!self.is_empty()).then(|| Item::Text(self.value.clone()))
    }

    fn form() -> Form {
        Form::Text
    }

    fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
        change(self);
    }
}

/// Nanoseconds, as Go's encoding/json has it.
impl Shape for Duration {
    fn item(&self) -> Option<Item> {
        self.nanoseconds.item()
    }

    fn form() -> Form {
        Form::Duration
    }
}

impl Shape for Period {
    fn item(&self) -> Option<Item> {
        Some(Item::Text(self.word().to_owned()))
    }

    fn form() -> Form {
        Form::Choice(&Period::WORDS)
    }
}

/// Values with a place that are no texts.
macro_rules! spanned {
    ($($type:ty)*) => {$(
        impl Shape for Spanned<$type> {
            fn item(&self) -> Option<Item> {
                self.value.item()
            }

            fn form() -> Form {
                <$type>::form()
            }

            fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
                self.value.change_texts(change);
            }
        }
    )*};
}

spanned!(u32 TextMap Cpe);

impl<T: Shape> Shape for Option<T> {
    fn item(&self) -> Option<Item> {
        self.as_ref()?.item()
    }

    fn form() -> Form {
        T::form()
    }

    fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
        if let Some(value) = self {
            value.change_texts(change);
        }
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn item(&self) -> Option<Item> {
        let items: Vec<Item> = self.iter().map(present).collect();
        (!items.is_empty()).then_some(Item::List(items))
    }

    fn form() -> Form {
        Form::List(T::form)
    }

    fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
        for value in self {
            value.change_texts(change);
        }
    }
}

impl Shape for TextMap {
    fn item(&self) -> Option<Item> {
        let entries: Vec<(String, Item)> = self
            .iter()
            .map(|(key, value)| (key.value.clone(), Item::Text(value.value.clone())))
            .collect();
        (!entries.is_empty()).then_some(Item::Map(entries))
    }

    fn form() -> Form {
        Form::Map(Text::form)
    }

    fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
        self.values_mut().for_each(change);
    }
}

impl<T: Shape> Shape for NamedList<T> {
    fn item(&self) -> Option<Item> {
        let entries: Vec<(String, Item)> = self
            .iter()
            .map(|(key, value)| (key.value.clone(), present(value)))
            .collect();
        (!entries.is_empty()).then_some(Item::Map(entries))
    }

    fn form() -> Form {
        Form::Map(T::form)
    }

    fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
        self.values_mut()
            .for_each(|value| value.change_texts(change));
    }
}

/// A member of a list or a named one is there even when it says nothing.
fn present<T: Shape>(value: &T) -> Item {
    value.item().unwrap_or_else(|| Item::Map(Vec::new()))
}
