use std::fs;

use base::Arch;
use proptest::prelude::*;

use super::super::NamePattern;
use super::*;

fn list(text: &str) -> RepositoryList {
    let mut list = RepositoryList::new(Arch::Aarch64);
    list.file("repositories", text);
    list
}

fn shown(list: &RepositoryList) -> String {
    let mut out = String::new();
    for repository in list.repositories() {
        let tag = repository.tag.as_deref().unwrap_or("-");
        out += &format!("{:?} {tag} {}\n", repository.layout, repository.location);
    }
    for problem in list.problems() {
        out += &format!("{problem}\n");
    }
    out
}

#[test]
fn kinds_tags_and_components() {
    let text = "# mirrors\n\
        \n\
        https://one.example/stable/base/\n\
        @edge https://one.example/edge/base\n\
        v3 @edge https://two.example/edge a b  c\n\
        v2 /srv/mirror/\n\
        ndx https://three.example/x/APKINDEX.tar.gz\n\
        https://three.example/x/Packages.adb\n\
        v2 file:///srv/odd.adb\n\
        https://one.example/stable/base\n";
    insta::assert_snapshot!(shown(&list(text)), @r"
    V2 - https://one.example/stable/base
    V2 edge https://one.example/edge/base
    V3 edge https://two.example/edge/a
    V3 edge https://two.example/edge/b
    V3 edge https://two.example/edge/c
    V2 - /srv/mirror
    Index - https://three.example/x/APKINDEX.tar.gz
    Index - https://three.example/x/Packages.adb
    V2 - /srv/odd.adb
    ");
}

#[test]
fn variables() {
    let text = "set -default host=first.example\n\
        https://${host}/a\n\
        set host=second.example\n\
        set -default host=third.example\n\
        https://${host}/${APK_ARCH}\n\
        set root=${host}/root\n\
        set parts=main extra\n\
        v3 https://${root}/ ${parts} ${APK_ARCH:4}\n\
        set root=/srv\n\
        ${root}/local\n";
    insta::assert_snapshot!(shown(&list(text)), @r"
    V2 - https://first.example/a
    V2 - https://second.example/aarch64
    V3 - https://second.example/root/main
    V3 - https://second.example/root/extra
    V3 - https://second.example/root/aarc
    V2 - /srv/local
    ");
}

#[test]
fn each_bad_line_has_its_place_and_reason() {
    let text = "set -all key=x\n\
        set 1key=x\n\
        set APK_ARCH=x\n\
        set key\n\
        https://${nobody}/x\n\
        v3 https://ok.example/${nobody:3}\n\
        https://x.example/${open\n\
        v4 https://x.example\n\
        ./packages\n\
        packages/os\n\
        v2 packages main\n\
        \x20 https://x.example\n\
        https://x.example/\tmain\r\n\
        @ https://x.example\n\
        @tag\n\
        v3\n\
        ndx https://x.example/Packages.adb main\n\
        ftp://x.example/a\n\
        https://\n\
        https://user:secret@x.example:99999/a\n\
        äöü ${nobody}\n\
        https://good.example\n";
    insta::assert_snapshot!(shown(&list(text)), @r"
    V2 - https://good.example/
    repositories:1:5: `-all` is no option of set; it has -default alone
      set -all key=x
    repositories:2:5: a variable is set by `set [-default] key=value`; the key has letters, digits and `_`, begins with a letter and not with APK_
      set 1key=x
    repositories:3:5: a variable is set by `set [-default] key=value`; the key has letters, digits and `_`, begins with a letter and not with APK_
      set APK_ARCH=x
    repositories:4:5: a variable is set by `set [-default] key=value`; the key has letters, digits and `_`, begins with a letter and not with APK_
      set key
    repositories:5:9: the variable nobody is not set; set it before, or write its value
      https://${nobody}/x
    repositories:6:23: the variable nobody is not set; set it before, or write its value
      v3 https://ok.example/${nobody:3}
    repositories:7:19: a variable is written `${name}`
      https://x.example/${open
    repositories:8:1: `v4` is no keyword; apk knows v2, v3, ndx and set
      v4 https://x.example
    repositories:9:1: `./packages` is a relative path, which apk refuses; write it from the root on, or as a URL
      ./packages
    repositories:10:1: `packages/os` is a relative path, which apk refuses; write it from the root on, or as a URL
      packages/os
    repositories:11:4: `packages` is a relative path, which apk refuses; write it from the root on, or as a URL
      v2 packages main
    repositories:12:1: the line begins with a space, and apk reads no further; remove it
        https://x.example
    repositories:13:24: the character '\r' can't stand here; remove it
      https://x.example/	main
    repositories:14:1: a tag is written `@name folder-or-URL`
      @ https://x.example
    repositories:15:1: a tag is written `@name folder-or-URL`
      @tag
    repositories:16:3: nothing is named; expected [@tag] followed by a folder or a URL
      v3
    repositories:17:36: an index file has no components; name one index per line
      ndx https://x.example/Packages.adb main
    repositories:18:1: ftp: is not supported; expected [@tag] followed by a folder or an http(s) URL
      ftp://x.example/a
    repositories:19:1: the URL can't be used: empty host
      https://
    repositories:20:1: the URL can't be used: invalid port number
      https://x.example:99999/a
    repositories:21:1: `äöü` is no keyword; apk knows v2, v3, ndx and set
      äöü ${nobody}
    ");
}

#[test]
fn apk_keeps_32_repositories_and_15_tags_apart() {
    let lines = |count: usize| -> String {
        (0..count)
            .map(|number| format!("https://x.example/{number}\n"))
            .collect()
    };
    assert_eq!(list(&lines(32)).finish().unwrap().len(), 32);
    let problems = list(&(lines(32) + "https://x.example/0\n@a https://x.example/0\n"))
        .finish()
        .unwrap_err();
    assert_eq!((problems.len(), problems[0].line), (1, 34));
    assert_eq!(problems[0].reason, LineReason::Repositories);

    let tags = |count: usize| -> String {
        (0..count)
            .map(|number| format!("@t{number} https://x.example/{number}\n"))
            .collect()
    };
    assert_eq!(list(&tags(15)).finish().unwrap().len(), 15);
    assert_eq!(
        list(&tags(16)).finish().unwrap_err()[0].reason,
        LineReason::Tags
    );
}

#[test]
fn arguments_may_be_relative_and_set_nothing() {
    let mut list = RepositoryList::new(Arch::X86_64);
    for text in [
        "packages",
        "@local ../packages ",
        "v3",
        "my packages",
        "v3 https://x.example a b",
        "set k=v",
        "",
        "@local",
    ] {
        list.argument("-X", text);
    }
    insta::assert_snapshot!(shown(&list), @"
    V2 - packages
    V2 local ../packages
    V2 - v3
    V2 - my packages
    V3 - https://x.example/a
    V3 - https://x.example/b
    V2 - set k=v
    -X:1:1: nothing is named; expected [@tag] followed by a folder or a URL
      
    -X:1:1: a tag is written `@name folder-or-URL`
      @local
    ");
}

#[test]
fn one_text_one_repository() {
    for text in [
        "https://x.example/a",
        "@t v",
        "v3 @t https://x.example/a",
        "v2 /srv/a.adb",
        "ndx /srv/index",
        "/",
        "s3://bucket/prefix",
    ] {
        let repository = Repository::parse(text).unwrap();
        assert_eq!(repository.to_string(), text);
        assert_eq!(
            Repository::parse(&repository.to_string()).unwrap(),
            repository
        );
    }
    let refused = |text: &str| Repository::parse(text).unwrap_err().to_string();
    insta::assert_snapshot!(refused("https://x.example a b"), @"`https://x.example a b` is no repository: it names 2 repositories where one belongs");
    insta::assert_snapshot!(refused("https://u:secret@x.example:x/a"), @"`https://x.example:x/a` is no repository: the URL can't be used: invalid port number");
    insta::assert_snapshot!(refused("https://x.example/${APK_ARCH}"), @"`https://x.example/${APK_ARCH}` is no repository: the variable APK_ARCH is not set; set it before, or write its value");
    let secret = Repository::parse("https://user:secret@x.example/a").unwrap();
    assert_eq!(secret.to_string(), "https://x.example/a");
    assert!(!format!("{secret:?}").contains("secret"));
}

#[test]
fn a_root_has_a_file_and_two_folders() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let read = || {
        let mut list = RepositoryList::new(Arch::X86_64);
        list.open_root(root.path()).unwrap();
        shown(&list)
    };
    assert_eq!(read(), "");
    write(FILE, "/first\n");
    write(
        "lib/apk/repositories.d/b.list",
        "set -default at=/shipped\n${at}/b\n",
    );
    write("lib/apk/repositories.d/c.list", "/hidden-by-etc\n");
    write("etc/apk/repositories.d/a.list", "set at=/mine\n");
    write("etc/apk/repositories.d/c.list", "/c\nwrong\n");
    write("etc/apk/repositories.d/.d.list", "/d\n");
    write("etc/apk/repositories.d/e.list.bak", "/e\n");
    insta::assert_snapshot!(read(), @"
    V2 - /first
    V2 - /mine/b
    V2 - /c
    /etc/apk/repositories.d/c.list:2:1: `wrong` is no keyword; apk knows v2, v3, ndx and set
      wrong
    ");
    fs::write(
        root.path().join(FILE),
        vec![b'#'; MAXIMUM_FILE as usize + 1],
    )
    .unwrap();
    let mut list = RepositoryList::new(Arch::X86_64);
    let error = list.open_root(root.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it is larger than 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn names_of_packages() {
    let names = |text: &str| {
        NamePattern::parse(text).map_or_else(
            |error| error.to_string(),
            |pattern| pattern.as_str().to_owned(),
        )
    };
    for text in [
        NamePattern::BESIDE_INDEX,
        NamePattern::REPOSITORY,
        NamePattern::CACHE,
        "https://x.example/${hash:2}/${name}_${version}",
    ] {
        assert_eq!(names(text), text);
    }
    insta::assert_snapshot!(names("${version}.apk"), @"`${version}.apk` is no pattern of package names: a file's name must begin with `${name}` and then `_`, `-` or `.`; write one such as `${name}-${version}.apk`");
    insta::assert_snapshot!(names("${name}${version}.apk"), @"`${name}${version}.apk` is no pattern of package names: a file's name must begin with `${name}` and then `_`, `-` or `.`; write one such as `${name}-${version}.apk`");
    insta::assert_snapshot!(names("${nome}-x"), @"`${nome}-x` is no pattern of package names: its variables may be name, version, arch and hash alone; write one such as `${name}-${version}.apk`");
    insta::assert_snapshot!(names("${name}-${version"), @"`${name}-${version` is no pattern of package names: a variable is written `${name}` or `${name:8}`; write one such as `${name}-${version}.apk`");
}

#[test]
fn credentials_in_a_path_are_not_shown() {
    let mut list = RepositoryList::new(Arch::X86_64);
    list.file(
        "f",
        "https://x.example https://user:word@\nhttps://x.example/http://a@b/c",
    );
    let shown: Vec<String> = list
        .repositories()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = ["https://x.example/https:", "https://x.example/http://b/c"];
    assert_eq!(shown, expected);
}

proptest! {
    /// Whatever stands in a file: what is read of it is shown as a line that is read the same.
    #[test]
    fn lines_of_all_kinds(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let text = words.concat();
        let list = list(&text);
        prop_assert!(list.repositories().len() <= MAXIMUM_REPOSITORIES);
        for repository in list.repositories() {
            let line = repository.to_string();
            // A `$` and a brace of different variables would be a variable.
            if !line.contains("${") {
                let mut again = RepositoryList::new(Arch::Aarch64);
                again.file("again", &line);
                prop_assert_eq!(again.problems(), &[]);
                // Credentials are not shown.
                let shown: Vec<String> = again.repositories().iter().map(|it| it.to_string()).collect();
                prop_assert_eq!(shown, [line]);
            }
        }
        for problem in list.problems() {
            let line = text.split('\n').nth(problem.line - 1).unwrap();
            prop_assert!(problem.column <= line.chars().count() + 1);
        }
    }
}

const WORDS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    " ",
    " ",
    " ",
    "\t",
    "set ",
    "-default ",
    "v2 ",
    "v3 ",
    "ndx ",
    "@",
    "tag ",
    "/",
    "/srv",
    "https://x.example",
    "s3://b",
    "file:",
    "://",
    "${",
    "}",
    "${k}",
    "${APK_ARCH:3}",
    "k=",
    "k=/a ",
    ":",
    "$",
    "{",
    ".adb",
    ".tar.gz",
    "ä",
    "\r",
    "#",
    "..",
    "%2f",
    "a@b",
];
