use std::collections::BTreeMap;

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, elf};

use super::Aspect;
use super::content::{Comparer, bytes_in_words};

/// More sections than this are not told apart; compilers make one for each function at most.
const MAX_SECTIONS: usize = 100_000;

/// The sections of a file by name, those of one name numbered; and its headers.
struct Sections<'d> {
    by_name: BTreeMap<(String, usize), &'d [u8]>,
    headers: Vec<(&'static str, &'d [u8])>,
}

impl Comparer {
    /// Compares two ELF files section by section.
    pub(super) fn elf(&mut self, original: &[u8], rebuilt: &[u8]) {
        let (Some(ours), Some(theirs)) = (self.sections(original), self.sections(rebuilt)) else {
            return;
        };
        for ((name, number), one) in &ours.by_name {
            let aspect = || Aspect::Section(numbered(name, *number));
            match theirs.by_name.get(&(name.clone(), *number)) {
                Some(other) if one == other => {}
                Some(other) => {
                    let (one, other) = bytes_in_words(one, other);
                    self.differ(aspect(), Some(one), Some(other));
                }
                None => self.differ(aspect(), Some(format!("{} bytes", one.len())), None),
            }
        }
        for ((name, number), other) in &theirs.by_name {
            if !ours.by_name.contains_key(&(name.clone(), *number)) {
                let aspect = Aspect::Section(numbered(name, *number));
                self.differ(aspect, None, Some(format!("{} bytes", other.len())));
            }
        }
        for ((what, one), (_, other)) in ours.headers.iter().zip(&theirs.headers) {
            if one != other {
                let (one, other) = bytes_in_words(one, other);
                let words = |text| Some(format!("{what} {text}"));
                self.differ(Aspect::Headers, words(one), words(other));
            }
        }
    }

    fn sections<'d>(&mut self, data: &'d [u8]) -> Option<Sections<'d>> {
        match data.get(4)? {
            1 => self.sections_of::<FileHeader32<Endianness>>(data),
            2 => self.sections_of::<FileHeader64<Endianness>>(data),
            _ => None,
        }
    }

    fn sections_of<'d, H: FileHeader<Endian = Endianness>>(
        &mut self,
        data: &'d [u8],
    ) -> Option<Sections<'d>> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let table = header.sections(endian, data).ok()?;
        if table.len() > MAX_SECTIONS {
            return None;
        }
        let mut by_name = BTreeMap::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for section in table.iter() {
            if section.sh_type(endian) == elf::SHT_NULL {
                continue;
            }
            let name = table.section_name(endian, section).unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            let bytes = section.data(endian, data).unwrap_or_default();
            // Sections of a hostile file may all be the same bytes.
            if !self.afford(bytes.len() as u64) {
                return None;
            }
            let number = counts.entry(name.clone()).or_default();
            by_name.insert((name, *number), bytes);
            *number += 1;
        }
        let length = |count: u64, size: u64| count.checked_mul(size);
        let part = |offset: u64, length: Option<u64>| {
            let start = usize::try_from(offset).ok()?;
            let end = usize::try_from(offset.checked_add(length?)?).ok()?;
            data.get(start..end)
        };
        let segments: u64 = header.e_phoff(endian).into();
        let segments = part(
            segments,
            length(
                header.e_phnum(endian).into(),
                header.e_phentsize(endian).into(),
            ),
        );
        let table: u64 = header.e_shoff(endian).into();
        let table = part(
            table,
            length(
                header.e_shnum(endian).into(),
                header.e_shentsize(endian).into(),
            ),
        );
        let headers = vec![
            (
                "the file header",
                part(0, Some(size_of::<H>() as u64)).unwrap_or_default(),
            ),
            ("the program headers", segments.unwrap_or_default()),
            ("the section headers", table.unwrap_or_default()),
        ];
        Some(Sections { by_name, headers })
    }
}

fn numbered(name: &str, number: usize) -> String {
    if number == 0 {
        name.to_owned()
    } else {
        format!("{name} ({})", number + 1)
    }
}
