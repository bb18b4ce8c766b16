//! Moving what is in `/bin`, `/sbin` and `/lib*` to `/usr`, where links lead to.

/// The folders that are links into `/usr`.
pub(super) const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Where a path (no slash at either end) goes.
pub(super) fn moved(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

/// The target of the symbolic link that was at `path`, so that at its new place it leads to where
/// its old target has gone.
pub(super) fn moved_target(path: &str, target: &str) -> String {
    if let Some(absolute) = target.strip_prefix('/') {
        return format!("/{}", moved(absolute));
    }
    let wanted = moved(&resolved(folder(path), target));
    let new_path = moved(path);
    let new_folder = folder(&new_path);
    if resolved(new_folder, target) == wanted {
        return target.to_owned();
    }
    relative(new_folder, &wanted)
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Where a relative target leads from a folder, by its text alone. The root's parent is the root.
fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The relative way from a folder to a path.
fn relative(folder: &str, path: &str) -> String {
    let from: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = path.split('/').collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", from.len() - shared);
    let parts: Vec<&str> = up.chain(to.iter().skip(shared).copied()).collect();
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(moved("bin/sh"), "usr/bin/sh");
        assert_eq!(moved("lib"), "usr/lib");
        assert_eq!(moved("library/x"), "library/x");
        assert_eq!(moved("usr/bin/sh"), "usr/bin/sh");
    }

    #[test]
    fn targets() {
        let cases = [
            // Within a moved folder nothing changes.
            ("lib/x/libz.so.1", "libz.so.1.2.13", "libz.so.1.2.13"),
            (
                "lib64/ld-linux-x86-64.so.2",
                "../lib/x/ld.so",
                "../lib/x/ld.so",
            ),
            // Out of a moved folder.
            ("lib/x/libz.so", "../../usr/share/z", "../../share/z"),
            (
                "bin/which",
                "../etc/alternatives/which",
                "../../etc/alternatives/which",
            ),
            ("sbin/tool", "../usr/bin/tool", "../bin/tool"),
            // Up beyond the root is the root, from either place.
            ("lib/a", "../../../../etc/x", "../../../../etc/x"),
            // Into a moved folder from elsewhere.
            ("usr/lib/x/libz.so", "../../../lib/x/libz.so.1", "libz.so.1"),
            ("etc/rc", "../bin/sh", "../usr/bin/sh"),
            ("usr/bin/x", "/bin/y", "/usr/bin/y"),
            ("bin/x", "/etc/y", "/etc/y"),
            // Between two that stay.
            ("usr/bin/cc", "gcc", "gcc"),
            ("usr/lib/ssl/certs", "/etc/ssl/certs", "/etc/ssl/certs"),
        ];
        for (path, target, expected) in cases {
            assert_eq!(moved_target(path, target), expected, "{path} -> {target}");
        }
    }
}
