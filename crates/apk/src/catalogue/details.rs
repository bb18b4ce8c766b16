//! What the solver does not look at, entry by entry: fields, each a number that says which, and a
//! value. Fields without value are left out.

use base::Digest;

use super::term;
use crate::dependency::Dependency;
use crate::package::{PackageInfo, TermList, Ungrammatical};

/// The fields. Those of lists come once for each item.
const DESCRIPTION: u8 = 1;
const URL: u8 = 2;
const COMMIT: u8 = 3;
const MAINTAINER: u8 = 4;
const PACKAGER: u8 = 5;
const BUILD_TIME: u8 = 6;
const LICENSE: u8 = 7;
const REPLACES: u8 = 8;
const RECOMMENDS: u8 = 9;
const VENDORED: u8 = 10;
const REPLACES_PRIORITY: u8 = 11;
const TRIGGER: u8 = 12;
const TAG: u8 = 13;
const LAYER: u8 = 14;
const DATAHASH: u8 = 15;
const UNGRAMMATICAL: u8 = 16;

const CONFLICT: u8 = 1;
const TAGGED: u8 = 2;

/// The fields that the text of an index often has.
#[derive(Default)]
pub(super) struct Texts<'t> {
    pub(super) description: &'t str,
    pub(super) url: &'t str,
    pub(super) license: &'t str,
    pub(super) commit: &'t str,
    pub(super) maintainer: &'t str,
    pub(super) build_time: Option<u64>,
}

impl Texts<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (field, text) in [
            (DESCRIPTION, self.description),
            (URL, self.url),
            (COMMIT, self.commit),
            (MAINTAINER, self.maintainer),
            (LICENSE, self.license),
        ] {
            if !text.is_empty() {
                put_text(out, field, text);
            }
        }
        if let Some(time) = self.build_time {
            put_number(out, BUILD_TIME, time);
        }
    }
}

/// Writes all that is not in the solver's part.
pub(super) fn write(info: &PackageInfo, out: &mut Vec<u8>) {
    // Every field is named, so that a new one can't be forgotten.
    let PackageInfo {
        name: _,
        version: _,
        arch: _,
        installed_size: _,
        origin: _,
        description,
        url,
        commit,
        maintainer,
        packager,
        build_time,
        licenses,
        depends: _,
        provides: _,
        replaces,
        install_if: _,
        vendored,
        provider_priority: _,
        replaces_priority,
        triggers,
        recommends,
        tags,
        layer,
        datahash,
        ungrammatical,
        defects: _,
    } = info;
    for (field, text) in [
        (DESCRIPTION, description),
        (URL, url),
        (COMMIT, commit),
        (MAINTAINER, maintainer),
        (PACKAGER, packager),
    ] {
        if !text.is_empty() {
            put_text(out, field, text);
        }
    }
    for (field, texts) in [
        (LICENSE, licenses),
        (VENDORED, vendored),
        (TRIGGER, triggers),
        (TAG, tags),
    ] {
        for text in texts {
            put_text(out, field, text);
        }
    }
    for (field, terms) in [(REPLACES, replaces), (RECOMMENDS, recommends)] {
        for term in terms {
            put_term(out, field, term);
        }
    }
    for (field, number) in [
        (BUILD_TIME, build_time),
        (REPLACES_PRIORITY, replaces_priority),
        (LAYER, layer),
    ] {
        if let Some(number) = number {
            put_number(out, field, *number);
        }
    }
    if let Some(digest) = datahash {
        out.push(DATAHASH);
        out.extend(digest.as_bytes());
    }
    for of in ungrammatical {
        put_ungrammatical(out, of);
    }
}

/// Which list it is of comes behind the term, and its place there.
fn put_ungrammatical(out: &mut Vec<u8>, of: &Ungrammatical) {
    put_term(out, UNGRAMMATICAL, &of.term);
    let list = TermList::ALL.iter().position(|list| *list == of.list);
    out.push(list.unwrap_or_default() as u8);
    put_length(out, of.place);
}

fn put_text(out: &mut Vec<u8>, field: u8, text: &str) {
    out.push(field);
    put_length(out, text.len());
    out.extend(text.as_bytes());
}

fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field);
    out.extend(number.to_le_bytes());
}

fn put_term(out: &mut Vec<u8>, field: u8, term: &Dependency) {
    let (constraint, version) = match &term.constraint {
        None => (term::ANY, String::new()),
        Some(constraint) => term::split(constraint),
    };
    let mut flags = if term.conflict { CONFLICT } else { 0 };
    if term.tag.is_some() {
        flags |= TAGGED;
    }
    out.extend([field, flags]);
    for text in [&term.name, term.tag.as_deref().unwrap_or_default()] {
        put_length(out, text.len());
        out.extend(text.as_bytes());
    }
    out.push(constraint);
    put_length(out, version.len());
    out.extend(version.as_bytes());
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Reads what [`write`] wrote; none if the bytes are no such thing.
pub(super) fn read(bytes: &[u8], info: &mut PackageInfo) -> Option<()> {
    let mut fields = Fields { rest: bytes };
    while let Some(field) = fields.byte() {
        match field {
            DESCRIPTION => info.description = fields.text()?,
            URL => info.url = fields.text()?,
            COMMIT => info.commit = fields.text()?,
            MAINTAINER => info.maintainer = fields.text()?,
            PACKAGER => info.packager = fields.text()?,
            BUILD_TIME => info.build_time = Some(fields.number()?),
            LICENSE => info.licenses.push(fields.text()?),
            REPLACES => info.replaces.push(fields.term()?),
            RECOMMENDS => info.recommends.push(fields.term()?),
            VENDORED => info.vendored.push(fields.text()?),
            REPLACES_PRIORITY => info.replaces_priority = Some(fields.number()?),
            TRIGGER => info.triggers.push(fields.text()?),
            TAG => info.tags.push(fields.text()?),
            LAYER => info.layer = Some(fields.number()?),
            DATAHASH => {
                let (digest, rest) = fields.rest.split_first_chunk()?;
                info.datahash = Some(Digest::from_bytes(*digest));
                fields.rest = rest;
            }
            UNGRAMMATICAL => {
                let term = fields.term()?;
                let list = *TermList::ALL.get(usize::from(fields.byte()?))?;
                let place = fields.length()?;
                let ungrammatical = Ungrammatical { list, place, term };
                info.ungrammatical.push(ungrammatical);
            }
            _ => return None,
        }
    }
    Some(())
}

struct Fields<'b> {
    rest: &'b [u8],
}

impl Fields<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }

    fn term(&mut self) -> Option<Dependency> {
        let flags = self.byte()?;
        let name = self.text()?;
        let tag = self.text()?;
        let constraint = self.byte()?;
        let version = self.text()?;
        Some(Dependency {
            name,
            tag: (flags & TAGGED != 0).then_some(tag),
            constraint: term::constraint(constraint, &version),
            conflict: flags & CONFLICT != 0,
        })
    }
}
