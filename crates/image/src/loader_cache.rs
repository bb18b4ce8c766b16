//! `/etc/ld.so.cache`, by which glibc's loader finds libraries: made from what the files say, so on
//! any machine for any of glibc's architectures (glibc's `elf/ldconfig.c`, `elf/cache.c`,
//! `sysdeps/generic/dl-cache.h`; the format "glibc-ld.so.cache1.1").
//!
//! Folders of `glibc-hwcaps` are not listed: the loader takes the plain libraries then.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use archive::tree::Content;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use store::MappedFile;

/// How deep `include` lines may lead, and how many folders there may be.
const INCLUDE_LIMIT: usize = 16;
const FOLDER_LIMIT: usize = 1024;

/// What ldconfig looks in beside what `ld.so.conf` says.
const SYSTEM: [&str; 4] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];

/// A file that may be a library.
pub(crate) struct Candidate {
    pub(crate) name: String,
    /// What a symbolic link leads to in the end: the last part of that path.
    pub(crate) link: Option<String>,
    pub(crate) content: Content,
}

/// What is needed of an image's files.
pub(crate) trait Files {
    /// The bytes of the file that a path leads to.
    fn text(&self, path: &str) -> Option<String>;
    /// The names in the folder that a path leads to, in order.
    fn names(&self, folder: &str) -> Vec<String>;
    /// The folder that a path leads to, by one name of it.
    fn real(&self, folder: &str) -> Option<String>;
    /// The file of that name in a folder, if it is one or leads to one.
    fn candidate(&self, folder: &str, name: &str) -> Option<Candidate>;
}

/// What a library says of itself.
struct Library {
    soname: Option<String>,
    flags: u32,
    is_big_endian: bool,
    machine: elf::Machine,
}

struct Line {
    flags: u32,
    key: String,
    value: String,
}

/// The cache for the folders that `/etc/ld.so.conf` names and those of the system.
pub(crate) fn build(files: &impl Files) -> Vec<u8> {
    let mut folders = Vec::new();
    configured(files, "/etc/ld.so.conf", &mut folders, 0);
    folders.extend(SYSTEM.map(str::to_owned));
    let mut seen = Vec::new();
    let mut lines = Vec::new();
    let mut is_big_endian = false;
    for folder in folders {
        let Some(real) = files.real(&folder) else {
            continue;
        };
        if seen.contains(&real) || seen.len() > FOLDER_LIMIT {
            continue;
        }
        seen.push(real);
        for (key, found) in libraries(files, &folder) {
            is_big_endian |= found.is_big_endian;
            let name = if found.has_soname {
                &key.0
            } else {
                &found.name
            };
            lines.push(Line {
                flags: key.1,
                value: format!("{}/{name}", folder.trim_end_matches('/')),
                key: key.0,
            });
        }
    }
    sort(&mut lines);
    write(&lines, is_big_endian)
}

/// The cache as apko makes it: of the folders up to the first `include`, files named as their
/// `SONAME` or its development link, on two architectures.
pub(crate) fn build_as_apko(files: &impl Files) -> Result<Vec<u8>, String> {
    let mut folders = vec!["/lib".to_owned()];
    folders.extend(configured_as_apko(files, "/etc/ld.so.conf", 0));
    let mut lines = Vec::new();
    for folder in folders {
        for name in files.names(&folder) {
            if stem(&name).is_none() {
                continue;
            }
            let Some(candidate) = files.candidate(&folder, &name) else {
                continue;
            };
            let Some(library) = read(&candidate.content) else {
                continue;
            };
            let path = format!("{}/{name}", folder.trim_end_matches('/'));
            if ![elf::EM_X86_64, elf::EM_AARCH64].contains(&library.machine) {
                return Err(path);
            }
            let soname = match library.soname {
                Some(soname) => soname,
                None if name.ends_with(".so") => name.clone(),
                None => continue,
            };
            let Some(stem) = stem(&soname) else {
                continue;
            };
            if name == soname || name == format!("{stem}.so") {
                lines.push(Line {
                    flags: library.flags,
                    key: name,
                    value: path,
                });
            }
        }
    }
    sort(&mut lines);
    let mut bytes = write(&lines, false);
    // apko says nothing of the byte order, and pads.
    if let Some(order) = bytes.get_mut(28) {
        *order = 0;
    }
    bytes.resize((bytes.len() & !15) + 16, 0);
    Ok(bytes)
}

/// `libfoo` of `libfoo.so.1`.
fn stem(name: &str) -> Option<&str> {
    if !name.starts_with("lib") && !name.starts_with("ld-") {
        return None;
    }
    name.strip_suffix(".so").or_else(|| {
        name.rfind(".so.")
            .filter(|at| *at >= 1)
            .map(|at| &name[..at])
    })
}

fn configured(files: &impl Files, path: &str, folders: &mut Vec<String>, depth: usize) {
    let Some(text) = files.text(path).filter(|_| depth < INCLUDE_LIMIT) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(patterns) = line
            .strip_prefix("include")
            .filter(|rest| rest.starts_with([' ', '\t']))
        {
            for pattern in patterns.split_whitespace() {
                let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let pattern = if pattern.starts_with('/') {
                    pattern.to_owned()
                } else {
                    format!("{beside}/{pattern}")
                };
                for included in matching(files, &pattern) {
                    configured(files, &included, folders, depth + 1);
                }
            }
        } else if !line.starts_with("hwcap ") {
            // A folder may be followed by the kind of its libraries.
            let folder = line.split('=').next().unwrap_or_default();
            let folder = folder.trim_end().trim_end_matches('/').to_owned();
            if !folders.contains(&folder) && folder.starts_with('/') {
                folders.push(folder);
            }
        }
    }
}

fn configured_as_apko(files: &impl Files, path: &str, depth: usize) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    let Some(text) = files.text(path).filter(|_| depth < INCLUDE_LIMIT) else {
        return folders;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            for included in matching(
                files,
                &format!("/{}", pattern.trim().trim_start_matches('/')),
            ) {
                folders.extend(configured_as_apko(files, &included, depth + 1));
            }
            return folders;
        }
        if !line.is_empty() && !folders.iter().any(|folder| folder == line) {
            folders.push(line.to_owned());
        }
    }
    folders
}

/// The paths that match a pattern with `*` and `?` in its last part.
fn matching(files: &impl Files, pattern: &str) -> Vec<String> {
    let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let names = files.names(folder).into_iter();
    names
        .filter(|name| fits(last.as_bytes(), name.as_bytes()))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| fits(rest, &name[at..])),
        ([b'?', rest @ ..], [_, name @ ..]) => fits(rest, name),
        ([one, rest @ ..], [other, name @ ..]) => one == other && fits(rest, name),
        _ => false,
    }
}

struct Found {
    name: String,
    is_link: bool,
    is_big_endian: bool,
    /// Whether a file is named by the soname.
    has_soname: bool,
}

/// The libraries of a folder by soname and flags.
fn libraries(files: &impl Files, folder: &str) -> BTreeMap<(String, u32), Found> {
    let mut all: BTreeMap<(String, u32), Found> = BTreeMap::new();
    let names = files.names(folder);
    for name in &names {
        let like_library = (name.starts_with("lib") && name.contains(".so"))
            || (name.starts_with("ld-") && name.contains(".so"))
            || name.starts_with("ld.so.")
            || name.starts_with("ld64.so.");
        if !like_library {
            continue;
        }
        let Some(candidate) = files.candidate(folder, name) else {
            continue;
        };
        let Some(library) = read(&candidate.content) else {
            continue;
        };
        let real = candidate.link.as_deref().unwrap_or(name);
        let mut soname = library.soname.unwrap_or_else(|| real.to_owned());
        // A link is a library of its own where it is the soname or the development link.
        let is_link = candidate.link.is_some()
            && (*name == soname || (name.ends_with(".so") && soname.starts_with(name.as_str())));
        if is_link {
            soname.clone_from(&candidate.name);
        }
        let found = Found {
            name: candidate.name,
            is_link,
            is_big_endian: library.is_big_endian,
            has_soname: names.contains(&soname),
        };
        let key = (soname, library.flags);
        let better = all.get(&key).is_none_or(|there| {
            (!found.is_link && there.is_link)
                || (found.is_link == there.is_link && compare(&there.name, &found.name).is_lt())
        });
        if better {
            all.insert(key, found);
        }
    }
    all
}

fn read(content: &Content) -> Option<Library> {
    match content {
        Content::Bytes(bytes) => parse(bytes),
        Content::Disk(path) => parse(&MappedFile::open(path).ok()?),
        Content::Part { path, offset, size } => {
            let file = MappedFile::open(path).ok()?;
            let (offset, size) = (usize::try_from(*offset).ok()?, usize::try_from(*size).ok()?);
            parse(file.get(offset..offset.checked_add(size)?)?)
        }
    }
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
    let segments = header.program_headers(endian, bytes).ok()?;
    let dynamic = segments
        .iter()
        .find_map(|segment| segment.dynamic(endian, bytes).ok()?)?;
    let value = |tag: elf::DynamicTag| {
        dynamic
            .iter()
            .find(|entry| entry.tag(endian) == tag)
            .map(|entry| entry.val(endian))
    };
    let table = value(elf::DT_STRTAB)?;
    let text = |offset: u64| {
        let address = table.checked_add(offset)?;
        let start = segments.iter().find_map(|segment| {
            if segment.p_type(endian) != elf::PT_LOAD {
                return None;
            }
            let within = address.checked_sub(segment.p_vaddr(endian).into())?;
            let size: u64 = segment.p_filesz(endian).into();
            (within < size).then_some(())?;
            segment.p_offset(endian).into().checked_add(within)
        })?;
        let name = bytes.get(usize::try_from(start).ok()?..)?;
        let end = name.iter().take(4096).position(|byte| *byte == 0)?;
        std::str::from_utf8(name.get(..end)?).ok()
    };
    let soname = value(elf::DT_SONAME).and_then(text).map(str::to_owned);
    let needed = dynamic
        .iter()
        .filter(|entry| entry.tag(endian) == elf::DT_NEEDED);
    let needed = needed.filter_map(|entry| text(entry.val(endian)));
    let is_of_glibc = needed
        .chain(soname.as_deref())
        .any(|name| ["libc.so.6", "libm.so.6"].contains(&name));
    let machine = header.e_machine(endian);
    Some(Library {
        soname,
        // Where nothing else tells, what it needs tells whether it is of glibc.
        flags: match flags(machine, header.e_flags(endian).0, header.is_class_64())? {
            3 if !is_of_glibc => 1,
            flags => flags,
        },
        is_big_endian: header.is_big_endian(),
        machine,
    })
}

/// glibc's mark of what may load a library (`FLAG_ELF_LIBC6` and the rest of `ldconfig.h`), by the
/// machine and its `e_flags`.
fn flags(machine: elf::Machine, flags: u32, is_64_bit: bool) -> Option<u32> {
    let kind = match machine {
        elf::EM_386 => 0,
        elf::EM_X86_64 if is_64_bit => 0x0300,
        elf::EM_X86_64 => 0x0800,
        elf::EM_AARCH64 => 0x0a00,
        elf::EM_ARM if flags & elf::EF_ARM_ABI_FLOAT_HARD != 0 => 0x0900,
        elf::EM_ARM if flags & elf::EF_ARM_ABI_FLOAT_SOFT != 0 => 0x0b00,
        elf::EM_ARM => 0,
        elf::EM_PPC64 => 0x0500,
        elf::EM_S390 if is_64_bit => 0x0400,
        // The convention for floating-point arguments: in registers of double precision, or none.
        elf::EM_RISCV => match flags & 6 {
            4 => 0x1000,
            0 => 0x0f00,
            _ => return None,
        },
        elf::EM_LOONGARCH => match flags & 7 {
            3 => 0x1200,
            1 => 0x1100,
            _ => return None,
        },
        _ => return None,
    };
    Some(kind | 3)
}

/// The order in which the loader searches: glibc's `_dl_cache_libcmp`. Numbers in names count as
/// numbers, and more than other characters.
fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (one.first(), other.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (first, second);
                (first, one) = number(one);
                (second, other) = number(other);
                if first != second {
                    return first.cmp(&second);
                }
            }
            (Some(a), Some(_)) if a.is_ascii_digit() => return Ordering::Greater,
            (Some(_), Some(b)) if b.is_ascii_digit() => return Ordering::Less,
            (Some(a), Some(b)) if a != b => return a.cmp(b),
            _ => {
                one = one.get(1..).unwrap_or_default();
                other = other.get(1..).unwrap_or_default();
            }
        }
    }
}

/// The number that begins a text, as C's `int` has it, and what follows.
fn number(text: &[u8]) -> (i32, &[u8]) {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    let value = digits.iter().fold(0_i32, |value, digit| {
        value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'))
    });
    (value, rest)
}

/// Descending, as ldconfig writes and the loader expects them.
fn sort(lines: &mut [Line]) {
    lines.sort_by(|one, other| {
        compare(&other.key, &one.key).then_with(|| other.flags.cmp(&one.flags))
    });
}

const HEADER: usize = 48;
const ENTRY: usize = 24;

fn write(lines: &[Line], is_big_endian: bool) -> Vec<u8> {
    let number = |value: usize| {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        if is_big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let mut strings = Vec::new();
    let mut entries = Vec::new();
    let start = HEADER + ENTRY * lines.len();
    for line in lines {
        let value = start + strings.len();
        strings.extend(line.value.as_bytes());
        strings.push(0);
        // The last part of the path is the key, unless the file is named otherwise.
        let key = if line.value.ends_with(&format!("/{}", line.key)) {
            value + line.value.len() - line.key.len()
        } else {
            strings.extend(line.key.as_bytes());
            strings.push(0);
            value + line.value.len() + 1
        };
        entries.extend(number(line.flags as usize));
        entries.extend(number(key));
        entries.extend(number(value));
        // No version of the operating system, no capabilities of the processor.
        entries.extend([0; 12]);
    }
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend(number(lines.len()));
    bytes.extend(number(strings.len()));
    bytes.extend([if is_big_endian { 3 } else { 2 }, 0, 0, 0]);
    bytes.extend([0; 16]);
    bytes.extend(entries);
    bytes.extend(strings);
    bytes
}

#[cfg(test)]
mod tests;
