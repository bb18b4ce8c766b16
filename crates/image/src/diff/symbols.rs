//! The symbols that a shared library exports, with their versions.

use std::collections::BTreeSet;
use std::path::Path;

use object::elf;
use object::read::elf::{Dyn as _, FileHeader, SectionTable, Sym as _};
use store::MappedFile;

/// The most symbols of a library that are looked at, and the longest name of one.
const SYMBOLS: usize = 1 << 20;
const NAME: usize = 4096;
/// What the names of one library's symbols may take together.
const NAMES: usize = 128 << 20;

/// What linkers put into every library.
const USUAL: [&[u8]; 8] = [
    b"_init",
    b"_fini",
    b"__bss_start",
    b"__bss_start__",
    b"_edata",
    b"_end",
    b"__end__",
    b"__bss_end__",
];

/// A shared library as those who are linked with it see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Library {
    pub(super) soname: Option<String>,
    /// `name`, or `name@VERSION`.
    pub(super) symbols: BTreeSet<String>,
}

/// Reads a library; none if the file is none, or is too broken to tell.
pub(super) fn read(path: &Path) -> Option<Library> {
    parse(&MappedFile::open(path).ok()?)
}

fn parse(bytes: &[u8]) -> Option<Library> {
    match bytes.get(..5)? {
        [0x7f, b'E', b'L', b'F', 1] => parse_class::<elf::FileHeader32<object::Endianness>>(bytes),
        [0x7f, b'E', b'L', b'F', 2] => parse_class::<elf::FileHeader64<object::Endianness>>(bytes),
        _ => None,
    }
}

fn parse_class<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Option<Library> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    if header.e_type(endian) != elf::ET_DYN {
        return None;
    }
    let sections = header.sections(endian, bytes).ok()?;
    let mut library = Library {
        soname: soname::<H>(&sections, endian, bytes),
        symbols: BTreeSet::new(),
    };
    let table = sections.symbols(endian, bytes, elf::SHT_DYNSYM).ok()?;
    let versions = sections.versions(endian, bytes).ok().flatten();
    let mut room = NAMES;
    for (index, symbol) in table.enumerate().take(SYMBOLS) {
        let is_exported = !symbol.is_undefined(endian)
            && [elf::STB_GLOBAL, elf::STB_WEAK, elf::STB_GNU_UNIQUE].contains(&symbol.st_bind())
            && [elf::STV_DEFAULT, elf::STV_PROTECTED].contains(&symbol.st_visibility());
        let Ok(name) = table.symbol_name(endian, symbol) else {
            continue;
        };
        if !is_exported || name.is_empty() || name.len() > NAME || USUAL.contains(&name) {
            continue;
        }
        let number = versions
            .as_ref()
            .map(|versions| versions.version_index(endian, index).index());
        if number == Some(elf::VER_NDX_LOCAL) {
            continue;
        }
        let version = versions
            .as_ref()
            .zip(number)
            .and_then(|(versions, number)| versions.version(number).ok().flatten());
        // A version is a symbol too, by its own name.
        if version.is_some_and(|version| version.name() == name) {
            continue;
        }
        let mut text = String::from_utf8_lossy(name).into_owned();
        if let Some(version) = version.filter(|version| version.name().len() <= NAME) {
            text.push('@');
            text.push_str(&String::from_utf8_lossy(version.name()));
        }
        let Some(left) = room.checked_sub(text.len()) else {
            break;
        };
        room = left;
        library.symbols.insert(text);
    }
    Some(library)
}

fn soname<'d, H: FileHeader<Endian = object::Endianness>>(
    sections: &SectionTable<'d, H, &'d [u8]>,
    endian: H::Endian,
    bytes: &'d [u8],
) -> Option<String> {
    let (dynamic, link) = sections.dynamic(endian, bytes).ok()??;
    let strings = sections.strings(endian, bytes, link).ok()?;
    let entry = dynamic
        .iter()
        .find(|entry| entry.tag(endian) == elf::DT_SONAME)?;
    let name = entry.string(endian, strings).ok()?;
    (!name.is_empty() && name.len() <= NAME).then(|| String::from_utf8_lossy(name).into_owned())
}
