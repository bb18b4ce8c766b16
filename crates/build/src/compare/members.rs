//! Archives, member by member.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use archive::Limits;
use archive::tar;
use flate2::read::DeflateDecoder;
use object::read::archive::ArchiveFile;
use rawzip::{CompressionMethod, ZipArchive};

use super::Aspect;
use super::content::{Comparer, short};

/// Archives with more members are compared as bytes.
const MAX_MEMBERS: usize = 200_000;

/// One member of an archive.
struct Member<'d> {
    /// What the archive says of it besides its contents.
    facts: Vec<(Aspect, String)>,
    bytes: Cow<'d, [u8]>,
    /// Whether `bytes` are deflate's.
    deflated: bool,
}

/// The members in order, by their names; those of one name are numbered.
#[derive(Default)]
struct Members<'d> {
    names: Vec<(String, usize)>,
    by_name: BTreeMap<(String, usize), Member<'d>>,
    counts: BTreeMap<String, usize>,
}

impl<'d> Members<'d> {
    /// None if there are too many.
    fn add(&mut self, name: String, member: Member<'d>) -> Option<()> {
        if self.names.len() == MAX_MEMBERS {
            return None;
        }
        let count = self.counts.entry(name.clone()).or_default();
        let key = (name, *count);
        *count += 1;
        self.names.push(key.clone());
        self.by_name.insert(key, member);
        Some(())
    }
}

impl Comparer {
    /// Compares two `ar` archives, such as static libraries.
    pub(super) fn ar(&mut self, original: &[u8], rebuilt: &[u8]) {
        if let (Some(one), Some(other)) = (ar(original), ar(rebuilt)) {
            self.members(&one, &other);
        }
    }

    /// Compares two zip archives, such as jars and wheels.
    pub(super) fn zip(&mut self, original: &[u8], rebuilt: &[u8]) {
        if let (Some(one), Some(other)) = (zip(original), zip(rebuilt)) {
            self.members(&one, &other);
        }
    }

    /// Compares two tar archives.
    pub(super) fn tar(&mut self, original: &[u8], rebuilt: &[u8]) {
        if let (Some(one), Some(other)) = (tarball(original), tarball(rebuilt)) {
            self.members(&one, &other);
        }
    }

    fn members(&mut self, ours: &Members<'_>, theirs: &Members<'_>) {
        for key in &ours.names {
            let Some(one) = ours.by_name.get(key) else {
                continue;
            };
            let other = theirs.by_name.get(key);
            self.within(&numbered(key), |inner| match other {
                Some(other) => inner.member(one, other),
                None => inner.differ(Aspect::Presence, Some("a member".to_owned()), None),
            });
        }
        for key in &theirs.names {
            if !ours.by_name.contains_key(key) {
                self.within(&numbered(key), |inner| {
                    inner.differ(Aspect::Presence, None, Some("a member".to_owned()));
                });
            }
        }
        let shared = |these: &'_ Members<'_>, those: &'_ Members<'_>| -> Vec<(String, usize)> {
            let names = these.names.iter();
            names
                .filter(|key| those.by_name.contains_key(key))
                .cloned()
                .collect()
        };
        let (one, other) = (shared(ours, theirs), shared(theirs, ours));
        let differing = one.iter().zip(&other).find(|(one, other)| one != other);
        if let Some((one, other)) = differing {
            self.differ(Aspect::Order, Some(numbered(one)), Some(numbered(other)));
        }
    }

    fn member(&mut self, one: &Member<'_>, other: &Member<'_>) {
        for (aspect, value) in &one.facts {
            let found = other.facts.iter().find(|(name, _)| name == aspect);
            let found = found.map(|(_, value)| value.clone());
            if found.as_ref() != Some(value) {
                self.differ(aspect.clone(), Some(value.clone()), found);
            }
        }
        for (aspect, value) in &other.facts {
            if !one.facts.iter().any(|(name, _)| name == aspect) {
                self.differ(aspect.clone(), None, Some(value.clone()));
            }
        }
        if one.bytes == other.bytes && one.deflated == other.deflated {
            return;
        }
        let (Some(ours), Some(theirs)) = (self.plain(one), self.plain(other)) else {
            let words = |member: &Member<'_>| Some(format!("{} bytes", member.bytes.len()));
            self.differ(Aspect::Contents, words(one), words(other));
            return;
        };
        if ours == theirs {
            let words = |member: &Member<'_>| {
                let how = if member.deflated {
                    "deflated to "
                } else {
                    "stored in "
                };
                Some(format!("{how}{} bytes", member.bytes.len()))
            };
            self.differ(Aspect::Compression, words(one), words(other));
        } else {
            self.content(&ours, &theirs);
        }
    }

    fn plain<'m>(&mut self, member: &'m Member<'_>) -> Option<Cow<'m, [u8]>> {
        /// No member yields more: 256 MiB.
        const MAX_MEMBER: u64 = 256 << 20;
        if !member.deflated {
            return Some(Cow::Borrowed(&member.bytes));
        }
        let mut bytes = Vec::new();
        let decoder = DeflateDecoder::new(&*member.bytes);
        let read = decoder.take(MAX_MEMBER + 1).read_to_end(&mut bytes);
        let length = bytes.len() as u64;
        let afforded = self.afford(length);
        (read.is_ok() && afforded && length <= MAX_MEMBER).then_some(Cow::Owned(bytes))
    }
}

fn numbered((name, number): &(String, usize)) -> String {
    if *number == 0 {
        name.clone()
    } else {
        format!("{name} ({})", number + 1)
    }
}

fn ar(data: &[u8]) -> Option<Members<'_>> {
    let archive = ArchiveFile::parse(data).ok()?;
    let mut members = Members::default();
    for member in archive.members() {
        let member = member.ok()?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        let mut facts = Vec::new();
        if let Some(time) = member.date() {
            facts.push((Aspect::ModificationTime, base::Epoch(time).rfc3339()));
        }
        if let (Some(user), Some(group)) = (member.uid(), member.gid()) {
            facts.push((Aspect::Owner, format!("{user}:{group}")));
        }
        if let Some(mode) = member.mode() {
            facts.push((Aspect::Mode, format!("{:04o}", mode & 0o7777)));
        }
        let member = Member {
            facts,
            bytes: Cow::Borrowed(member.data(data).ok()?),
            deflated: false,
        };
        members.add(name, member)?;
    }
    Some(members)
}

fn zip(data: &[u8]) -> Option<Members<'_>> {
    let archive = ZipArchive::from_slice(data).ok()?;
    let mut members = Members::default();
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().ok()? {
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        let place = entry.wayfinder();
        let (start, end) = archive.get_entry(place).ok()?.compressed_data_range();
        let start = usize::try_from(start).ok()?;
        let bytes = data.get(start..usize::try_from(end).ok()?)?;
        let method = entry.compression_method();
        let mut facts = vec![
            (Aspect::Mode, format!("{:04o}", entry.mode().permissions())),
            (Aspect::ModificationTime, entry.last_modified().to_string()),
        ];
        if !matches!(
            method,
            CompressionMethod::Store | CompressionMethod::Deflate
        ) {
            facts.push((Aspect::Compression, format!("{method:?}")));
        }
        let member = Member {
            facts,
            bytes: Cow::Borrowed(bytes),
            deflated: method == CompressionMethod::Deflate,
        };
        members.add(name, member)?;
    }
    Some(members)
}

fn tarball(data: &[u8]) -> Option<Members<'_>> {
    let limits = Limits {
        bytes: data.len() as u64,
        ..Limits::default()
    };
    let mut reader = tar::Reader::new(data, limits).any_names();
    let mut members = Members::default();
    while let Some(mut entry) = reader.next().ok()? {
        let header = entry.header();
        let name = String::from_utf8_lossy(entry.path_bytes()).into_owned();
        let mut facts = vec![
            (Aspect::Kind, header.kind.words().to_owned()),
            (Aspect::Mode, format!("{:04o}", header.mode)),
            (
                Aspect::Owner,
                format!(
                    "{}:{} ({}:{})",
                    header.uid, header.gid, header.user, header.group
                ),
            ),
            (
                Aspect::ModificationTime,
                base::Epoch(header.mtime).rfc3339(),
            ),
            (
                Aspect::Target,
                String::from_utf8_lossy(entry.target_bytes()).into_owned(),
            ),
        ];
        for (name, value) in &header.xattrs {
            facts.push((Aspect::Attribute(name.clone()), short(value)));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        let member = Member {
            facts,
            bytes: Cow::Owned(bytes),
            deflated: false,
        };
        members.add(name, member)?;
    }
    Some(members)
}
