use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use archive::tree::Content;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::read::{ReadCache, ReadRef, StringTable};

use super::go;

/// More libraries than this no linker records.
const MAX_DYNAMIC_STRINGS: usize = 4096;

/// Longer names no loader opens (Linux's `PATH_MAX`).
const MAX_NAME: usize = 4096;

/// What the analysis and the linters want to know of an ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// `e_machine`: `EM_X86_64` is 62.
    pub machine: u16,
    /// `PT_INTERP`, such as `/lib64/ld-linux-x86-64.so.2`.
    pub interpreter: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_SONAME`.
    pub sonames: Vec<String>,
    /// Whether it holds debugging information that isn't loaded when it runs.
    pub has_debugging_information: bool,
    /// Whether Go built it to use the system's FIPS-validated OpenSSL.
    pub go_openssl: bool,
}

impl Elf {
    /// Reads the headers of `content`; `None` if that isn't an ELF file or is too broken to tell.
    /// Errors are those of reading alone.
    pub fn read(content: &Content) -> io::Result<Option<Elf>> {
        match content {
            Content::Bytes(bytes) => Ok(Elf::parse_bytes(bytes)),
            Content::Part { .. } => Ok(Elf::parse_bytes(&content.read()?)),
            Content::Disk(path) => {
                let mut file = File::open(path)?;
                let mut start = Vec::new();
                Read::by_ref(&mut file)
                    .take(elf::ELFMAG.len() as u64)
                    .read_to_end(&mut start)?;
                match Elf::begins(&start) {
                    true => Elf::parse_file(file),
                    false => Ok(None),
                }
            }
        }
    }

    /// Whether a file that begins so is one, if any.
    pub(crate) fn begins(start: &[u8]) -> bool {
        start.starts_with(&elf::ELFMAG)
    }

    pub(crate) fn parse_bytes(bytes: &[u8]) -> Option<Elf> {
        Elf::parse(bytes)
    }

    /// Reads the headers of a file, which may have been read from before.
    pub(crate) fn parse_file(mut file: File) -> io::Result<Option<Elf>> {
        file.seek(SeekFrom::Start(0))?;
        Ok(Elf::parse(&ReadCache::new(file)))
    }

    fn parse<'d, R: ReadRef<'d>>(data: R) -> Option<Elf> {
        let start = data.read_bytes_at(0, 5).ok()?;
        if start.get(..4)? != elf::ELFMAG {
            return None;
        }
        match start.get(4)? {
            1 => parse::<elf::FileHeader32<object::Endianness>, R>(data),
            2 => parse::<elf::FileHeader64<object::Endianness>, R>(data),
            _ => None,
        }
    }

    /// The machine in words.
    pub fn machine_name(&self) -> String {
        let name = match elf::Machine(self.machine) {
            elf::EM_X86_64 => "x86_64",
            elf::EM_AARCH64 => "aarch64",
            elf::EM_386 => "x86",
            elf::EM_ARM => "arm",
            elf::EM_PPC64 => "ppc64",
            elf::EM_S390 => "s390x",
            elf::EM_MIPS => "mips",
            elf::EM_RISCV => "riscv",
            elf::EM_LOONGARCH => "loongarch",
            _ => return format!("machine {}", self.machine),
        };
        name.to_owned()
    }
}

fn parse<'d, H, R>(data: R) -> Option<Elf>
where
    H: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'d>,
{
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let mut found = Elf {
        machine: header.e_machine(endian).0,
        ..Elf::default()
    };
    for segment in header.program_headers(endian, data).ok()? {
        if segment.p_type(endian) == elf::PT_INTERP
            && segment.p_filesz(endian).into() <= MAX_NAME as u64
        {
            // A file that was split off with its debugging information alone has no bytes here.
            let bytes = segment.data(endian, data).unwrap_or_default();
            found.interpreter = name(bytes).filter(|name| name.starts_with('/'));
        }
    }
    let sections = header.sections(endian, data).unwrap_or_default();
    if sections.is_empty() {
        let (needed, sonames) =
            dynamic_by_segments::<H, R>(header, endian, data).unwrap_or_default();
        (found.needed, found.sonames) = (needed, sonames);
        return Some(found);
    }
    let (needed, sonames) = dynamic_by_sections(&sections, endian, data).unwrap_or_default();
    (found.needed, found.sonames) = (needed, sonames);
    for section in sections.iter() {
        let name = sections.section_name(endian, section).unwrap_or_default();
        let loaded = section.sh_flags(endian).contains(elf::SHF_ALLOC);
        if name.starts_with(b".debug") || name.starts_with(b".zdebug") {
            found.has_debugging_information |= !loaded;
        }
        if name == b".go.buildinfo" {
            let bytes = section.data(endian, data).unwrap_or_default();
            found.go_openssl = go::uses_system_openssl(bytes);
        }
    }
    Some(found)
}

type Names = (Vec<String>, Vec<String>);

fn dynamic_by_sections<'d, H, R>(
    sections: &SectionTable<'d, H, R>,
    endian: H::Endian,
    data: R,
) -> Option<Names>
where
    H: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'d>,
{
    let (dynamic, link) = sections.dynamic(endian, data).ok()??;
    let strings = sections.strings(endian, data, link).ok()?;
    Some(names::<H, R>(dynamic, endian, strings))
}

/// For files whose section headers were cut off.
fn dynamic_by_segments<'d, H, R>(header: &H, endian: H::Endian, data: R) -> Option<Names>
where
    H: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'d>,
{
    use object::read::elf::Dyn;

    let segments = header.program_headers(endian, data).ok()?;
    let dynamic = segments
        .iter()
        .find_map(|segment| segment.dynamic(endian, data).ok()?)?;
    let value = |tag: elf::DynamicTag| {
        dynamic
            .iter()
            .find(|entry| entry.tag(endian) == tag)
            .map(|entry| entry.val(endian))
    };
    let address = value(elf::DT_STRTAB)?;
    let size = value(elf::DT_STRSZ)?;
    let offset = segments.iter().find_map(|segment| {
        if segment.p_type(endian) != elf::PT_LOAD {
            return None;
        }
        let within = address.checked_sub(segment.p_vaddr(endian).into())?;
        let file_size: u64 = segment.p_filesz(endian).into();
        (within < file_size).then_some(())?;
        segment.p_offset(endian).into().checked_add(within)
    })?;
    let strings = StringTable::new(data, offset, offset.checked_add(size)?);
    Some(names::<H, R>(dynamic, endian, strings))
}

fn names<'d, H, R>(dynamic: &[H::Dyn], endian: H::Endian, strings: StringTable<'d, R>) -> Names
where
    H: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'d>,
{
    use object::read::elf::Dyn;

    let (mut needed, mut sonames) = (Vec::new(), Vec::new());
    for entry in dynamic {
        let tag = entry.tag(endian);
        let list = match tag {
            elf::DT_NULL => break,
            elf::DT_NEEDED => &mut needed,
            elf::DT_SONAME => &mut sonames,
            _ => continue,
        };
        if list.len() >= MAX_DYNAMIC_STRINGS {
            break;
        }
        let bytes = entry.string(endian, strings).unwrap_or_default();
        list.extend(name(bytes));
    }
    (needed, sonames)
}

/// A name as text, without the zero bytes after it.
fn name(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    (!text.is_empty() && text.len() <= MAX_NAME).then(|| text.to_owned())
}
