//! What audits find: apk's letters for the same changes.

use polpo_apk::install::{Audit, AuditMode, InstallError, OpenOptions, Root};

use super::{System, is_root, recipe};

fn audit(system: &System, audit: &Audit) -> String {
    let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    let findings = root.audit(audit).unwrap();
    findings
        .iter()
        .map(|finding| {
            let package = finding
                .package
                .as_ref()
                .map_or("", |(name, _)| name.as_str());
            let line = format!("{} {} {package}", finding.deviation.letter(), finding.path);
            format!("{}\n", line.trim_end())
        })
        .collect()
}

fn changed() -> System {
    let mut system = System::new();
    let names = ["same", "text", "mode", "gone", "link"];
    let files: Vec<(String, &str)> = names
        .iter()
        .map(|name| (format!("usr/bin/{name}"), "text"))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), *text))
        .collect();
    system.install(recipe("tools", "1", &files));
    system.install(recipe(
        "settings",
        "1",
        &[
            ("etc/conf", "1"),
            ("etc/kept", "1"),
            ("var/x", "1"),
            ("etc/init.d/s", "1"),
        ],
    ));
    system.write("usr/bin/text", "other");
    system.write("etc/conf", "mine");
    system.write("etc/new", "mine");
    system.write("etc/conf.apk-new", "2");
    system.write("usr/bin/added", "mine");
    system.write("new/sub/f", "mine");
    system.write("etc/init.d/s", "mine");
    let root = system.root();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(root.join("usr/bin/mode"), mode(0o700)).unwrap();
    std::fs::set_permissions(root.join("usr"), mode(0o711)).unwrap();
    std::fs::remove_file(root.join("usr/bin/gone")).unwrap();
    std::fs::remove_file(root.join("usr/bin/link")).unwrap();
    std::os::unix::fs::symlink("/bin/busybox", root.join("usr/bin/link")).unwrap();
    std::os::unix::fs::symlink("/bin/busybox", root.join("usr/bin/applet")).unwrap();
    std::fs::remove_file(root.join("var/x")).unwrap();
    system
}

#[test]
fn an_audit_finds_what_apk_finds() {
    let system = changed();
    if !is_root() {
        let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
        let refused = root.audit(&Audit::default()).unwrap_err();
        assert!(matches!(refused, InstallError::UsermodeAudit { .. }));
        return;
    }
    insta::assert_snapshot!(audit(&system, &Audit::default()), @r"
    D etc/apk/
    U etc/conf settings
    A etc/new
    ");
    let system_mode = Audit {
        mode: AuditMode::System,
        check_permissions: true,
        ..Audit::default()
    };
    insta::assert_snapshot!(audit(&system, &system_mode), @r"
    m usr/
    U usr/bin/link tools
    M usr/bin/mode tools
    U usr/bin/text tools
    X usr/bin/gone tools
    X var/x settings
    ");
    let full = Audit {
        mode: AuditMode::Full,
        recursive: true,
        ignore_busybox_symlinks: true,
        ..Audit::default()
    };
    insta::assert_snapshot!(audit(&system, &full), @r"
    U etc/init.d/s settings
    d lib/
    d new/
    d new/sub/
    A new/sub/f
    A usr/bin/added
    U usr/bin/link tools
    U usr/bin/text tools
    X usr/bin/gone tools
    ");
    let here = Audit {
        mode: AuditMode::Full,
        paths: vec!["usr/bin".to_owned()],
        protected_paths: Some("-usr/bin/added\n-usr/bin/gone\n".to_owned()),
        ..Audit::default()
    };
    insta::assert_snapshot!(audit(&system, &here), @r"
    A usr/bin/applet
    U usr/bin/link tools
    U usr/bin/text tools
    ");
    // What was expected, and what is there.
    let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    let details = Audit {
        mode: AuditMode::System,
        details: true,
        paths: vec!["usr/bin".to_owned()],
        ..Audit::default()
    };
    let findings = root.audit(&details).unwrap();
    let text = findings
        .iter()
        .find(|finding| finding.path == "usr/bin/text")
        .unwrap();
    let expected = text.expected.as_ref().unwrap();
    let found = text.found.as_ref().unwrap();
    assert_eq!((expected.mode, expected.uid, found.mode), (0o644, 0, 0o644));
    assert_eq!(
        expected.checksum.as_deref(),
        Some(base::Sha1::of(b"text").hex().as_str())
    );
    assert_eq!(
        found.checksum.as_deref(),
        Some(base::Sha1::of(b"other").hex().as_str())
    );
    let missing = findings
        .iter()
        .find(|finding| finding.path == "usr/bin/gone")
        .unwrap();
    assert!(missing.expected.is_some() && missing.found.is_none());
}
