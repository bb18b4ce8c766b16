//! What the solver's part of a catalogue says.

use std::ops::Range;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::build::first_slot;
use super::format::{DefectRecord, Extent, NameRecord, PackageRecord, Section, TermRecord};
use super::{Contents, term};
use crate::dependency::{Dependency, Identity};
use crate::package::Defect;

/// The sections that solving looks at, as what they consist of.
#[derive(Clone, Copy)]
pub(super) struct View<'c> {
    /// One more than there are packages.
    packages: &'c [PackageRecord],
    lists: &'c [U32],
    pub(super) terms: &'c [TermRecord],
    /// One more than there are names.
    names: &'c [NameRecord],
    name_slots: &'c [U32],
    providers: &'c [U32],
    conditional: &'c [U32],
    identity_slots: &'c [U32],
    pub(super) defects: &'c [DefectRecord],
    strings: &'c [u8],
    /// The strings, if all of them were looked at.
    text: Option<&'c str>,
    keys: [u64; 2],
}

/// The records of a section; none if they don't fit.
fn records<T>(contents: &Contents, section: Section) -> &[T]
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    <[T]>::ref_from_bytes(contents.section(section)).unwrap_or_default()
}

impl<'c> View<'c> {
    pub(super) fn new(contents: &'c Contents) -> View<'c> {
        View {
            packages: records(contents, Section::Packages),
            lists: records(contents, Section::Lists),
            terms: records(contents, Section::Terms),
            names: records(contents, Section::Names),
            name_slots: records(contents, Section::NameSlots),
            providers: records(contents, Section::Providers),
            conditional: records(contents, Section::Conditional),
            identity_slots: records(contents, Section::IdentitySlots),
            defects: records(contents, Section::Defects),
            strings: contents.section(Section::Strings),
            text: None,
            keys: contents.keys(),
        }
    }

    /// The same, for who will ask for most of the strings: they are checked at once.
    pub(super) fn with_text(self) -> View<'c> {
        View {
            text: std::str::from_utf8(self.strings).ok(),
            ..self
        }
    }

    pub(super) fn package_count(&self) -> usize {
        self.packages.len().saturating_sub(1)
    }

    /// A package's record, and the next, which says where its lists end.
    pub(super) fn package(&self, place: usize) -> Option<(&'c PackageRecord, &'c PackageRecord)> {
        match self.packages.get(place..place.checked_add(2)?)? {
            [record, next] => Some((record, next)),
            _ => None,
        }
    }

    pub(super) fn name_count(&self) -> usize {
        self.names.len().saturating_sub(1)
    }

    pub(super) fn text(&self, extent: &Extent) -> &'c str {
        if let Some(text) = self.text {
            return text.get(extent.range()).unwrap_or_default();
        }
        let bytes = self.strings.get(extent.range()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn name(&self, name: u32) -> &'c str {
        let record = self.names.get(name as usize);
        record.map_or("", |record| self.text(&record.text))
    }

    /// The places of the terms of a list.
    pub(super) fn list(&self, from: U32, to: U32) -> &'c [U32] {
        let range = from.get() as usize..to.get() as usize;
        self.lists.get(range).unwrap_or_default()
    }

    /// What a package depends on, provides, and is installed for.
    pub(super) fn terms_of(
        &self,
        record: &PackageRecord,
        next: &PackageRecord,
    ) -> [Vec<Dependency>; 3] {
        [
            (record.depends, record.provides),
            (record.provides, record.install_if),
            (record.install_if, next.depends),
        ]
        .map(|(from, to)| {
            let list = self.list(from, to).iter();
            let terms = list.filter_map(|place| self.terms.get(place.get() as usize));
            terms.map(|term| self.term(term)).collect()
        })
    }

    pub(super) fn term(&self, record: &TermRecord) -> Dependency {
        let end = u32::try_from(record.text.range().end).unwrap_or(u32::MAX);
        let version = Extent {
            start: record.version,
            length: U32::new(end.saturating_sub(record.version.get())),
        };
        let tag = (record.tag.length.get() > 0).then(|| self.text(&record.tag).to_owned());
        Dependency {
            name: self.name(record.name.get()).to_owned(),
            tag,
            constraint: term::constraint(record.constraint, self.text(&version)),
            conflict: record.is(TermRecord::CONFLICT),
        }
    }

    pub(super) fn defects(
        &self,
        place: usize,
        record: &PackageRecord,
    ) -> impl Iterator<Item = Defect> + use<'c> {
        let view = *self;
        let mut defects: &[DefectRecord] = &[];
        if record.is(PackageRecord::DEFECTS) {
            let first = self
                .defects
                .partition_point(|defect| (defect.package.get() as usize) < place);
            defects = self.defects.get(first..).unwrap_or_default();
        }
        let own = defects
            .iter()
            .take_while(move |defect| defect.package.get() as usize == place);
        own.map(move |defect| view.defect(defect))
    }

    pub(super) fn defect(&self, defect: &DefectRecord) -> Defect {
        Defect {
            field: self.text(&defect.field).to_owned(),
            reason: self.text(&defect.reason).to_owned(),
            fatal: defect.fatal != 0,
        }
    }

    /// The place in a hash table of what `is` accepts, of those that `key` leads to.
    fn look_up(&self, slots: &[U32], key: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
        if !slots.len().is_power_of_two() {
            return None;
        }
        let first = first_slot(self.keys, key, slots.len());
        let (before, after) = slots.split_at_checked(first)?;
        let places = after.iter().chain(before).map(|slot| slot.get());
        places
            .map_while(|place| place.checked_sub(1))
            .find(|place| is(*place))
    }

    pub(super) fn find_name(&self, name: &str) -> Option<u32> {
        self.look_up(self.name_slots, name.as_bytes(), |place| {
            let record = self.names.get(place as usize);
            let text = record.and_then(|record| self.strings.get(record.text.range()));
            text == Some(name.as_bytes())
        })
    }

    pub(super) fn find_identity(&self, identity: &Identity) -> Option<usize> {
        let short = match identity.shortened() {
            Identity::Sha1(digest) => *digest.as_bytes(),
            Identity::Sha256(_) => return None,
        };
        let place = self.look_up(self.identity_slots, &short, |place| {
            let record = self.packages.get(place as usize);
            record.is_some_and(|record| record.short_identity() == short)
        });
        place.map(|place| place as usize)
    }

    /// Who has or provides a name.
    pub(super) fn providers(&self, name: u32) -> &'c [U32] {
        self.of_name(self.providers, name, |record| record.providers)
    }

    /// Whose `install_if` speaks of a name.
    pub(super) fn conditional(&self, name: u32) -> &'c [U32] {
        self.of_name(self.conditional, name, |record| record.conditional)
    }

    fn of_name(
        &self,
        lists: &'c [U32],
        name: u32,
        start: impl Fn(&NameRecord) -> U32,
    ) -> &'c [U32] {
        let name = name as usize;
        let (Some(record), Some(next)) =
            (self.names.get(name), self.names.get(name.saturating_add(1)))
        else {
            return &[];
        };
        let range: Range<usize> = start(record).get() as usize..start(next).get() as usize;
        lists.get(range).unwrap_or_default()
    }
}
