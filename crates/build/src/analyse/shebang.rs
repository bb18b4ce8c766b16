//! The interpreter that a script asks for.

/// Interpreters that are links in every distribution and so provided as no `cmd:`, or that several
/// packages provide in incompatible variants.
const IGNORED: [&str; 5] = ["python3", "python", "sh", "awk", "luajit"];

/// The interpreter's name, given the first bytes of a file; nothing when it is no
/// script or the interpreter is not depended upon.
///
/// # Errors
///
/// `env` with arguments that name no single program.
pub(super) fn interpreter(start: &[u8]) -> Result<Option<String>, String> {
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let program = match words.as_slice() {
        [] => return Ok(None),
        ["/usr/bin/env"] => return Err("`#!/usr/bin/env` names no program".to_owned()),
        ["/usr/bin/env", program] => program,
        ["/usr/bin/env", "-S", program, ..] if !program.starts_with('-') => program,
        ["/usr/bin/env", ..] => {
            return Err(format!(
                "`#!{}` gives env several arguments without -S",
                words.join(" ")
            ));
        }
        [program, ..] => program,
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    Ok((!name.is_empty() && !IGNORED.contains(&name)).then(|| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::interpreter;

    #[test]
    fn interpreters() {
        let name = |text: &str| interpreter(text.as_bytes());
        for (text, expected) in [
            ("#!/usr/bin/env bash\n", Some("bash")),
            (
                "#!/usr/bin/env python3.12\nwith open...\n",
                Some("python3.12"),
            ),
            ("#!/bin/sh\necho hi world\n", None),
            ("#!/bin/dash\necho hi world\n", Some("dash")),
            ("#!/usr/bin/env -S bash -x\necho hi\n", Some("bash")),
            ("cs101 assignment", None),
            ("#!/usr/bin/perl", Some("perl")),
            ("#!   \n", None),
            ("#!\t\n", None),
            ("#!\n", None),
            ("#", None),
            ("", None),
            ("#!/usr/bin/\n", None),
        ] {
            assert_eq!(name(text), Ok(expected.map(str::to_owned)), "{text:?}");
        }
        assert!(name("#!/usr/bin/env bash -x\n").is_err());
        assert!(name("#!/usr/bin/env\n").is_err());
        assert!(name("#!/usr/bin/env -S -i x\n").is_err());
    }
}
