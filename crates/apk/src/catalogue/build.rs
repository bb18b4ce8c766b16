//! Making a catalogue's bytes, entry by entry.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use siphasher::sip::SipHasher13;
use zerocopy::little_endian::{U32, U64};

use super::details;
use super::format::{
    DefectRecord, Extent, NameRecord, PackageRecord, SHORT_IDENTITY, Sum, TermRecord, sum,
};
use super::made::Made;
use super::scan::{Hashed, PlainEntry, Scanned};
use super::term;
use crate::dependency::{Dependency, Identity, PartConstraint, Parts};
use crate::index::IndexEntry;

/// A catalogue in the making.
pub(super) struct Builder {
    packages: Vec<PackageRecord>,
    lists: Vec<U32>,
    terms: Vec<TermRecord>,
    names: Vec<NameRecord>,
    defects: Vec<DefectRecord>,
    strings: Vec<u8>,
    details: Vec<u8>,
    /// Names and terms by their texts, each kept once among the strings.
    texts: HashTable<Known>,
    identities: HashTable<u32>,
    /// With a key that no index can know, so that none can make its texts collide.
    hash: foldhash::quality::RandomState,
    last_arch: Extent,
}

/// A text, and what it is known as. All is here, since looking elsewhere costs more than hashing.
#[derive(Clone, Copy)]
struct Known {
    start: u32,
    length: u32,
    /// The place of the term that is written so, or [`NONE`].
    term: u32,
    /// The place of the name, or [`NONE`].
    name: u32,
}

/// The text is not known as that yet.
pub(super) const NONE: u32 = u32::MAX;

impl Known {
    fn text<'s>(&self, strings: &'s [u8]) -> &'s [u8] {
        let start = self.start as usize;
        let range = start..start.saturating_add(self.length as usize);
        strings.get(range).unwrap_or_default()
    }

    fn extent(&self) -> Extent {
        Extent {
            start: U32::new(self.start),
            length: U32::new(self.length),
        }
    }
}

/// Where a builder stood, to go back to.
struct Mark {
    lists: usize,
    terms: usize,
    names: usize,
}

/// A number of the catalogue. What is read is far smaller than 4 GiB, and so is what it becomes;
/// should it not be, [`Builder::finish`] finds out by the length of the whole.
fn short(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn number(value: usize) -> U32 {
    U32::new(short(value))
}

fn text_of<'s>(strings: &'s [u8], extent: &Extent) -> &'s [u8] {
    strings.get(extent.range()).unwrap_or_default()
}

fn identity_of(identity: &Identity) -> ([u8; 32], u8) {
    match identity {
        Identity::Sha256(digest) => (*digest.as_bytes(), PackageRecord::SHA256),
        Identity::Sha1(digest) => {
            let mut bytes = [0; 32];
            bytes[..20].copy_from_slice(digest.as_bytes());
            (bytes, 0)
        }
    }
}

impl Builder {
    /// For so many bytes of text, more or less.
    pub(super) fn new(text: usize) -> Builder {
        let packages = text / 400;
        Builder {
            packages: Vec::with_capacity(packages),
            lists: Vec::with_capacity(packages * 6),
            terms: Vec::with_capacity(packages * 2),
            names: Vec::with_capacity(packages * 2),
            defects: Vec::new(),
            strings: Vec::with_capacity(packages * 96),
            details: Vec::with_capacity(text / 2),
            texts: HashTable::with_capacity(packages * 2),
            identities: HashTable::with_capacity(packages),
            hash: foldhash::quality::RandomState::default(),
            last_arch: Extent::default(),
        }
    }

    /// What its texts are hashed with.
    pub(super) fn hash_state(&self) -> foldhash::quality::RandomState {
        self.hash.clone()
    }

    fn string(&mut self, text: &str) -> Extent {
        let start = self.strings.len();
        self.strings.extend(text.as_bytes());
        Extent {
            start: number(start),
            length: number(text.len()),
        }
    }

    /// The architecture, which is most often that of the last package.
    fn arch(&mut self, arch: &str) -> Extent {
        if text_of(&self.strings, &self.last_arch) != arch.as_bytes() {
            self.last_arch = self.string(arch);
        }
        self.last_arch
    }

    /// What is known of a text, which is kept if it is new.
    fn known(&mut self, text: &str) -> &mut Known {
        let hash = self.hash.hash_one(text.as_bytes());
        self.known_by(text, hash)
    }

    /// The same of a text whose hash is known.
    fn known_by(&mut self, text: &str, hash: u64) -> &mut Known {
        let text = text.as_bytes();
        let Builder {
            texts,
            strings,
            hash: state,
            ..
        } = self;
        let known = texts.entry(
            hash,
            |known| known.text(strings) == text,
            |known| state.hash_one(known.text(strings)),
        );
        match known {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let start = strings.len();
                strings.extend(text);
                let known = Known {
                    start: short(start),
                    length: short(text.len()),
                    term: NONE,
                    name: NONE,
                };
                place.insert(known).into_mut()
            }
        }
    }

    /// The place of a name.
    fn name(&mut self, name: &str) -> U32 {
        let hash = self.hash.hash_one(name.as_bytes());
        self.name_by(name, hash)
    }

    /// The place of a name whose hash is known.
    fn name_by(&mut self, name: &str, hash: u64) -> U32 {
        let next = self.names.len();
        let known = self.known_by(name, hash);
        if known.name == NONE {
            known.name = short(next);
            let text = known.extent();
            self.names.push(name_record(text));
            return number(next);
        }
        U32::new(known.name)
    }

    /// The place of a term as it is written; none if it follows no grammar.
    fn term(&mut self, text: &str) -> Option<U32> {
        let hash = self.hash.hash_one(text.as_bytes());
        self.term_by(text, hash)
    }

    /// The same of a term whose text's hash is known.
    fn term_by(&mut self, text: &str, hash: u64) -> Option<U32> {
        let (next, next_name) = (self.terms.len(), self.names.len());
        let known = self.known_by(text, hash);
        if known.term != NONE {
            return Some(U32::new(known.term));
        }
        let parts = Parts::parse_untagged(text).ok()?;
        known.term = short(next);
        let is_name = parts.name.len() == text.len();
        let is_new_name = is_name && known.name == NONE;
        if is_new_name {
            known.name = short(next_name);
        }
        let known = *known;
        if is_new_name {
            self.names.push(name_record(known.extent()));
        }
        let (constraint, version) = match &parts.constraint {
            None => (term::ANY, ""),
            Some(PartConstraint::Version(operator, version)) => {
                (term::number_of(*operator), *version)
            }
            Some(PartConstraint::Identity(_, version)) => (term::IDENTITY, *version),
        };
        let record = TermRecord {
            name: match is_name {
                true => U32::new(known.name),
                false => self.name(parts.name),
            },
            text: known.extent(),
            version: U32::new(known.start + known.length - short(version.len())),
            constraint,
            flags: if parts.conflict {
                TermRecord::CONFLICT
            } else {
                0
            },
            ..TermRecord::default()
        };
        self.terms.push(record);
        Some(number(next))
    }

    /// The place of a term, whatever it holds.
    fn any_term(&mut self, term: &Dependency) -> U32 {
        let text = term.to_string();
        if let Some(plain) = self.term(&text).filter(|_| is_plain(term, &text)) {
            return plain;
        }
        let (constraint, version) = match &term.constraint {
            None => (term::ANY, String::new()),
            Some(constraint) => term::split(constraint),
        };
        let name = self.name(&term.name);
        let known = *self.known(&text);
        let behind_name = usize::from(term.conflict) + term.name.len() + 1;
        let record = TermRecord {
            name,
            text: known.extent(),
            version: U32::new(known.start + known.length - short(version.len())),
            tag: term.tag.as_deref().map_or(Extent::default(), |tag| Extent {
                start: U32::new(known.start + short(behind_name)),
                length: number(tag.len()),
            }),
            constraint,
            flags: if term.conflict {
                TermRecord::CONFLICT
            } else {
                0
            },
        };
        self.terms.push(record);
        number(self.terms.len() - 1)
    }

    fn mark(&self) -> Mark {
        Mark {
            lists: self.lists.len(),
            terms: self.terms.len(),
            names: self.names.len(),
        }
    }

    /// Forgets the terms and names added since. Their texts stay.
    fn go_back(&mut self, mark: &Mark) {
        let terms = self.terms.drain(mark.terms..).map(|term| term.text);
        let names = self.names.drain(mark.names..).map(|name| name.text);
        for text in terms.chain(names) {
            let text = text_of(&self.strings, &text);
            let hash = self.hash.hash_one(text);
            let same = |known: &Known| known.text(&self.strings) == text;
            if let Some(known) = self.texts.find_mut(hash, same) {
                let is_new = |place: u32, mark: usize| place as usize >= mark;
                if is_new(known.term, mark.terms) {
                    known.term = NONE;
                }
                if is_new(known.name, mark.names) {
                    known.name = NONE;
                }
            }
        }
        self.lists.truncate(mark.lists);
    }

    /// Adds an entry of a piece; false, and nothing is added, if a term follows no grammar. `known` has
    /// for each of the piece's terms its place here, or [`NONE`].
    pub(super) fn add_plain<T: AsRef<str>>(
        &mut self,
        piece: &Scanned<T>,
        known: &mut [u32],
        entry: &PlainEntry,
    ) -> bool {
        let text = piece.text.as_ref();
        let part = |place: &Range<usize>| text.get(place.clone()).unwrap_or_default();
        let mark = self.mark();
        let mut record = PackageRecord::default();
        let Hashed { place, hash } = &entry.name;
        let name = self.name_by(part(place), *hash);
        record.name = name;
        let mut starts = [U32::new(0); 3];
        for (start, list) in starts.iter_mut().zip(&entry.lists) {
            *start = number(self.lists.len());
            let list = piece.lists.get(list.clone()).unwrap_or_default();
            if !self.list(piece, known, list) {
                self.go_back(&mark);
                for list in &entry.lists {
                    for term in piece.lists.get(list.clone()).unwrap_or_default() {
                        let known = &mut known[*term as usize];
                        if *known as usize >= mark.terms {
                            *known = NONE;
                        }
                    }
                }
                return false;
            }
        }
        [record.depends, record.provides, record.install_if] = starts;
        record.version = self.string(part(&entry.version));
        record.arch = self.arch(part(&entry.arch));
        record.origin = self.origin(part(&entry.origin), name);
        record.size = U64::new(entry.size);
        record.installed_size = U64::new(entry.installed_size);
        record.details = number(self.details.len());
        let details = piece.details.get(entry.details.clone());
        self.details.extend(details.unwrap_or_default());
        self.package(record, &entry.identity, entry.provider_priority);
        true
    }

    /// Adds a list of a piece's terms; false if one follows no grammar.
    fn list<T: AsRef<str>>(&mut self, piece: &Scanned<T>, known: &mut [u32], list: &[u32]) -> bool {
        let text = piece.text.as_ref();
        for term in list {
            let known = &mut known[*term as usize];
            if *known == NONE {
                let Hashed { place, hash } = &piece.terms[*term as usize];
                let Some(place) = self.term_by(text.get(place.clone()).unwrap_or_default(), *hash)
                else {
                    return false;
                };
                *known = place.get();
            }
            self.lists.push(U32::new(*known));
        }
        true
    }

    /// Adds an entry, whatever it holds.
    pub(super) fn add(&mut self, entry: &IndexEntry) {
        let info = &entry.info;
        let mut record = PackageRecord::default();
        let name = self.name(&info.name);
        record.name = name;
        let mut starts = [U32::new(0); 3];
        let terms = [&info.depends, &info.provides, &info.install_if];
        for (start, terms) in starts.iter_mut().zip(terms) {
            *start = number(self.lists.len());
            for term in terms {
                let place = self.any_term(term);
                self.lists.push(place);
            }
        }
        [record.depends, record.provides, record.install_if] = starts;
        record.version = self.string(&info.version);
        record.arch = self.arch(&info.arch);
        record.origin = self.origin(&info.origin, name);
        record.size = U64::new(entry.size);
        record.installed_size = U64::new(info.installed_size);
        record.details = number(self.details.len());
        details::write(info, &mut self.details);
        for defect in &info.defects {
            record.flags |= PackageRecord::DEFECTS;
            let defect = DefectRecord {
                package: number(self.packages.len()),
                field: self.string(&defect.field),
                reason: self.string(&defect.reason),
                fatal: u8::from(defect.fatal),
            };
            self.defects.push(defect);
        }
        self.package(record, &entry.identity, info.provider_priority);
    }

    /// The origin, which is often the package's own name.
    fn origin(&mut self, origin: &str, name: U32) -> Extent {
        let name = self.names.get(name.get() as usize);
        let name = name.map_or(Extent::default(), |name| name.text);
        if text_of(&self.strings, &name) == origin.as_bytes() {
            return name;
        }
        self.string(origin)
    }

    fn package(&mut self, mut record: PackageRecord, identity: &Identity, priority: Option<u64>) {
        let (bytes, kind) = identity_of(identity);
        record.identity = bytes;
        record.flags |= kind;
        if let Some(priority) = priority {
            record.flags |= PackageRecord::PRIORITY;
            record.provider_priority = U64::new(priority);
        }
        self.place(record);
    }

    /// Adds a record, of which another may have the same identity.
    fn place(&mut self, mut record: PackageRecord) {
        let place = self.packages.len() as u32;
        let short = record.short_identity();
        let hash = self.hash.hash_one(short);
        let same = |known: &u32| self.packages[*known as usize].short_identity() == short;
        if self.identities.find(hash, same).is_some() {
            record.flags |= PackageRecord::REPEATED;
            self.packages.push(record);
            return;
        }
        self.packages.push(record);
        let Builder {
            identities,
            packages,
            hash: state,
            ..
        } = self;
        identities.insert_unique(hash, place, |place| {
            state.hash_one(packages[*place as usize].short_identity())
        });
    }

    /// All that there is to say. None if it would be 4 GiB.
    pub(super) fn finish(mut self, description: &str, name_pattern: &str) -> Option<Made> {
        let end = PackageRecord {
            depends: number(self.lists.len()),
            provides: number(self.lists.len()),
            install_if: number(self.lists.len()),
            details: number(self.details.len()),
            ..PackageRecord::default()
        };
        self.packages.push(end);
        self.names.push(NameRecord::default());
        let ((providers, conditional), keys) =
            beside(|| self.tables(), || keys(&sum(&self.strings)));
        let (name_slots, identity_slots) =
            beside(|| self.name_slots(keys), || self.identity_slots(keys));
        for (place, name) in self.names.iter_mut().enumerate() {
            name.providers = providers.start(place);
            name.conditional = conditional.start(place);
        }
        Made {
            description: description.to_owned(),
            name_pattern: name_pattern.to_owned(),
            packages: self.packages,
            lists: self.lists,
            terms: self.terms,
            names: self.names,
            name_slots,
            providers: providers.items,
            conditional: conditional.items,
            identity_slots,
            defects: self.defects,
            strings: self.strings,
            details: self.details,
            keys,
        }
        .checked()
    }

    /// The hash table of the names, once all are there and one record more.
    fn name_slots(&self, keys: [u64; 2]) -> Vec<U32> {
        let names = self.names.split_last().map_or(&[][..], |(_, most)| most);
        let texts = names.iter().map(|name| text_of(&self.strings, &name.text));
        slots(keys, names.len(), texts.enumerate())
    }

    /// The same of the identities.
    fn identity_slots(&self, keys: [u64; 2]) -> Vec<U32> {
        let packages = self.packages.split_last();
        let packages = packages.map_or(&[][..], |(_, most)| most);
        let first = packages.iter().enumerate();
        let first = first.filter(|(_, record)| !record.is(PackageRecord::REPEATED));
        let identities = first.map(|(place, record)| (place, &record.identity[..SHORT_IDENTITY]));
        slots(keys, packages.len(), identities)
    }

    /// The lists of the names: who has or provides each, and whose `install_if` speaks of it.
    fn tables(&self) -> (Table, Table) {
        let names = self.names.len();
        let mut providers = Table::new(names);
        let mut conditional = Table::new(names);
        for counting in [true, false] {
            for (place, pair) in self.packages.windows(2).enumerate() {
                let [record, next] = pair else { continue };
                let terms = |start: U32, end: U32| {
                    let range = start.get() as usize..end.get() as usize;
                    let places = self.lists.get(range).unwrap_or_default().iter();
                    places.map(|place| self.terms[place.get() as usize].name.get())
                };
                let provided = terms(record.provides, record.install_if);
                for name in std::iter::once(record.name.get()).chain(provided) {
                    providers.add(name, place as u32, counting);
                }
                for name in terms(record.install_if, next.depends) {
                    conditional.add(name, place as u32, counting);
                }
            }
            providers.turn(counting);
            conditional.turn(counting);
        }
        (providers, conditional)
    }
}

/// Does both at once.
fn beside<A: Send, B>(other: impl FnOnce() -> A + Send, this: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let this = this();
        (
            other.join().unwrap_or_else(|panic| resume_unwind(panic)),
            this,
        )
    })
}

fn name_record(text: Extent) -> NameRecord {
    NameRecord {
        text,
        ..NameRecord::default()
    }
}

/// Whether a term is what reading `text`, as it is written, gives.
fn is_plain(term: &Dependency, text: &str) -> bool {
    Parts::parse_untagged(text).is_ok_and(|parts| {
        let read = match &parts.constraint {
            None => None,
            Some(PartConstraint::Version(operator, version)) => {
                Some((term::number_of(*operator), (*version).to_owned()))
            }
            Some(PartConstraint::Identity(_, text)) => Some((term::IDENTITY, (*text).to_owned())),
        };
        parts.name == term.name
            && parts.conflict == term.conflict
            && term.tag.is_none()
            && read == term.constraint.as_ref().map(term::split)
    })
}

/// Lists by name in one piece of memory: counted first, then filled.
struct Table {
    /// How many items a name has; then where its next one goes, which in the end is where the next
    /// name's begin.
    ends: Vec<u32>,
    last: Vec<u32>,
    items: Vec<U32>,
}

impl Table {
    fn new(names: usize) -> Table {
        Table {
            ends: vec![0; names],
            last: vec![u32::MAX; names],
            items: Vec::new(),
        }
    }

    fn add(&mut self, name: u32, item: u32, counting: bool) {
        let name = name as usize;
        // One that comes several times does so in a row.
        if std::mem::replace(&mut self.last[name], item) == item {
            return;
        }
        let end = &mut self.ends[name];
        if !counting {
            self.items[*end as usize] = U32::new(item);
        }
        *end += 1;
    }

    fn turn(&mut self, counted: bool) {
        if !counted {
            return;
        }
        let mut total = 0;
        for end in &mut self.ends {
            let count = std::mem::replace(end, total);
            total += count;
        }
        self.items = vec![U32::new(0); total as usize];
        self.last.fill(u32::MAX);
    }

    /// Where a name's list begins, once all is filled.
    fn start(&self, name: usize) -> U32 {
        let before = name.checked_sub(1).and_then(|before| self.ends.get(before));
        U32::new(before.copied().unwrap_or(0))
    }
}

/// The keys of hash tables: they depend on the texts themselves, so that these can't be chosen to
/// collide under them.
fn keys(sum: &Sum) -> [u64; 2] {
    let (halves, _) = sum.as_chunks::<8>();
    let half = |place: usize| {
        halves
            .get(place)
            .map_or(0, |half| u64::from_le_bytes(*half))
    };
    [half(0), half(1)]
}

/// The first slot to look into, of a table of `slots`, which are a power of two.
pub(super) fn first_slot(keys: [u64; 2], bytes: &[u8], slots: usize) -> usize {
    let mut hasher = SipHasher13::new_with_keys(keys[0], keys[1]);
    hasher.write(bytes);
    hasher.finish() as usize & slots.wrapping_sub(1)
}

/// A hash table of at most `count` texts and their places, at least half of it empty.
fn slots<'t>(
    keys: [u64; 2],
    count: usize,
    texts: impl Iterator<Item = (usize, &'t [u8])>,
) -> Vec<U32> {
    let mut slots = vec![U32::new(0); (count * 2).next_power_of_two().max(2)];
    let last = slots.len() - 1;
    for (place, text) in texts {
        let mut slot = first_slot(keys, text, slots.len());
        while slots[slot].get() != 0 {
            slot = (slot + 1) & last;
        }
        slots[slot] = number(place + 1);
    }
    slots
}
