use std::path::Path;

use base::{Problem, SourceText};
use yaml::{Decode, Decoder, Fields, Node, Spanned};

use super::{
    Lock, LockError, LockedContents, LockedFile, LockedKey, LockedMember, LockedPackage,
    LockedRepository,
};

/// The largest lock that is read.
const SIZE_LIMIT: u64 = 64 << 20;

impl Lock {
    /// Reads a lock, polpo's or apko's.
    ///
    /// # Errors
    /// [`LockError::Problems`]: it can't be read, has not this shape, or was changed after it was
    /// made.
    pub fn read(path: &Path) -> Result<Lock, LockError> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(SIZE_LIMIT).read_to_string(&mut text))
            .map_err(|error| {
                LockError::Problems(vec![
                    Problem::error(
                        "unreadable",
                        format!("can't read the lock {}: {error}", path.display()),
                    )
                    .help("make it by `polpo image lock`"),
                ])
            })?;
        Lock::parse(SourceText::new(path.display().to_string(), text))
    }

    /// Reads the text of a lock.
    ///
    /// # Errors
    /// As [`Lock::read`].
    pub fn parse(source: SourceText) -> Result<Lock, LockError> {
        let lock: Lock = yaml::decode(source.clone()).map_err(LockError::Problems)?;
        if let Some(checksum) = &lock.checksum
            && *checksum != lock.seal()?
        {
            let span = source
                .text()
                .find(checksum.as_str())
                .map_or(0..0, |at| at..at + checksum.len());
            return Err(LockError::Problems(vec![
                Problem::error("lock-edited", "the lock was changed after it was made: its contents don't have this checksum")
                    .at(&source, span, "")
                    .help("make it anew by `polpo image lock`; to have another version, ask for it in the image file"),
            ]));
        }
        Ok(lock)
    }
}

impl Decode for Lock {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Lock> {
        let mut fields = Fields::of(node, "the lock", decoder)?;
        let version = fields.required::<Spanned<String>>("version", decoder);
        let config = fields.optional("config", decoder);
        let contents = fields.required("contents", decoder);
        let checksum = fields.optional("checksum", decoder);
        fields.finish(decoder);
        let version = version?;
        if *version != "v1" {
            let problem = Problem::error(
                "lock-version",
                format!("the lock is of version `{}`", *version),
            )
            .at(decoder.source(), version.span(), "")
            .help("only `v1` is known");
            decoder.problem(problem);
        }
        Some(Lock {
            version: version.value,
            config,
            contents: contents?,
            checksum,
        })
    }
}

impl Decode for LockedFile {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedFile> {
        let mut fields = Fields::of(node, "`config`", decoder)?;
        let name = fields.or_default("name", decoder);
        let checksum = fields.or_default("checksum", decoder);
        fields.finish(decoder);
        Some(LockedFile { name, checksum })
    }
}

impl Decode for LockedContents {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedContents> {
        let mut fields = Fields::of(node, "`contents`", decoder)?;
        let contents = LockedContents {
            keyring: fields.or_default("keyring", decoder),
            build_repositories: fields.or_default("build_repositories", decoder),
            runtime_repositories: fields.or_default("runtime_repositories", decoder),
            repositories: fields.or_default("repositories", decoder),
            packages: fields.or_default("packages", decoder),
        };
        fields.finish(decoder);
        Some(contents)
    }
}

impl Decode for LockedKey {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedKey> {
        let mut fields = Fields::of(node, "a key", decoder)?;
        let key = LockedKey {
            name: fields.or_default("name", decoder),
            url: fields.or_default("url", decoder),
            content: fields.or_default("content", decoder),
        };
        fields.finish(decoder);
        Some(key)
    }
}

impl Decode for LockedRepository {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedRepository> {
        let mut fields = Fields::of(node, "a repository", decoder)?;
        let repository = LockedRepository {
            name: fields.or_default("name", decoder),
            url: fields.or_default("url", decoder),
            architecture: fields.or_default("architecture", decoder),
        };
        fields.finish(decoder);
        Some(repository)
    }
}

impl Decode for LockedPackage {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedPackage> {
        let line = decoder.source().location(node.span.start).line;
        let mut fields = Fields::of(node, "a package", decoder)?;
        let name: Option<String> = fields.required("name", decoder);
        let url = fields.required("url", decoder);
        let version = fields.required("version", decoder);
        let architecture = fields.required("architecture", decoder);
        let signature = fields.or_default("signature", decoder);
        let control = fields.or_default("control", decoder);
        let data = fields.or_default("data", decoder);
        let checksum: Option<String> = fields.optional("checksum", decoder);
        let span = fields.span();
        fields.finish(decoder);
        let name = name?;
        let Some(checksum) = checksum.filter(|checksum| !checksum.is_empty()) else {
            let problem = Problem::error(
                "missing-key",
                format!("the locked package {name} has no `checksum`"),
            )
            .at(decoder.source(), span, "")
            .help("locks of apko before 0.13 have none: make it anew by `polpo image lock`");
            decoder.problem(problem);
            return None;
        };
        Some(LockedPackage {
            name,
            url: url?,
            version: version?,
            architecture: architecture?,
            signature,
            control,
            data,
            checksum,
            line,
        })
    }
}

impl Decode for LockedMember {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedMember> {
        let mut fields = Fields::of(node, "a member", decoder)?;
        let member = LockedMember {
            range: fields.or_default("range", decoder),
            checksum: fields.or_default("checksum", decoder),
        };
        fields.finish(decoder);
        Some(member)
    }
}
