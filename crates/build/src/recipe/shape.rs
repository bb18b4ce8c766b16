//! What every type of a recipe as written can do: be written again in the format's shape, and have
//! its texts changed.

use yaml::{Item, Spanned};

use super::text::{Duration, Text, TextMap};
use super::update::Period;
use super::written::{Cpe, NamedList};

/// A part of a recipe as written.
pub(crate) trait Shape {
    /// It under the keys it was read from, in the order they are declared in; `None` when it says
    /// nothing.
    fn item(&self) -> Option<Item>;

    /// Calls `change` with each text that is a value: keys stay.
    fn change_texts(&mut self, _change: &mut dyn FnMut(&mut Text)) {}
}

impl Shape for bool {
    fn item(&self) -> Option<Item> {
        self.then_some(Item::Bool(true))
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Shape for $type {
            fn item(&self) -> Option<Item> {
                let value = i64::try_from(*self).unwrap_or(i64::MAX);
                (value != 0).then_some(Item::Integer(value))
            }
        }
    )*};
}

integers!(u32 u64 i64);

impl Shape for Text {
    fn item(&self) -> Option<Item> {
        (!self.is_empty()).then(|| Item::Text(self.value.clone()))
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
}

impl Shape for Period {
    fn item(&self) -> Option<Item> {
        Some(Item::Text(self.word().to_owned()))
    }
}

/// Values with a place that are no texts.
macro_rules! spanned {
    ($($type:ty)*) => {$(
        impl Shape for Spanned<$type> {
            fn item(&self) -> Option<Item> {
                self.value.item()
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

    fn change_texts(&mut self, change: &mut dyn FnMut(&mut Text)) {
        self.values_mut()
            .for_each(|value| value.change_texts(change));
    }
}

/// A member of a list or a named one is there even when it says nothing.
fn present<T: Shape>(value: &T) -> Item {
    value.item().unwrap_or_else(|| Item::Map(Vec::new()))
}
