use std::fmt::Write as _;

use base::{Problem, SourceText};

use super::*;

fn shown(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        writeln!(text, "{problem}").unwrap();
        if let Some(help) = &problem.help {
            writeln!(text, "    help: {help}").unwrap();
        }
    }
    text
}

fn decoded(text: &str) -> Result<ImageConfiguration, String> {
    parse(SourceText::new("image.yaml", text))
        .map(|(configuration, _)| configuration)
        .map_err(|problems| shown(&problems))
}

fn refused(text: &str) -> String {
    decoded(text).unwrap_err()
}

#[test]
fn every_key_is_read() {
    let configuration = decoded(
        r#"
contents:
  build_repositories: [/build/]
  runtime_repositories: ["@edge https://user:secret@example.org/edge/"]
  repositories: [./packages]
  keyring: [key.rsa.pub]
  packages: [hello, "zlib>=1.2@edge", "!dash"]
entrypoint: {command: /bin/sh -l}
cmd: -c "echo hi"
stop-signal: SIGQUIT
work-dir: /srv
accounts:
  run-as: 65532
  users: [{username: nonroot, uid: 65532}]
  groups: [{groupname: nonroot, gid: 65532, members: [nonroot]}]
archs: [amd64, aarch64, x86_64]
environment: {C: 1.10, empty: ~}
paths:
  - {path: /srv/data, type: directory, uid: 65532, permissions: 0o750, recursive: true}
  - {path: /bin/x, type: symlink, source: ../y}
vcs-url: https://example.org/r@abc
annotations: {a: "true"}
volumes: [/data]
layering: {strategy: origin, budget: 10}
format: tar
"#,
    )
    .unwrap();
    let json = String::from_utf8(oci::json::to_vec(&configuration).unwrap()).unwrap();
    insta::assert_snapshot!(json, @r#"{"contents":{"build_repositories":["/build"],"runtime_repositories":["@edge https://example.org/edge"],"repositories":["./packages"],"keyring":["key.rsa.pub"],"packages":["hello","zlib\u003e=1.2@edge","!dash"]},"entrypoint":{"command":"/bin/sh -l"},"cmd":"-c \"echo hi\"","stop-signal":"SIGQUIT","work-dir":"/srv","accounts":{"run-as":"65532","users":[{"username":"nonroot","uid":65532,"homedir":"/home/nonroot"}],"groups":[{"groupname":"nonroot","gid":65532,"members":["nonroot"]}]},"archs":["amd64","arm64"],"environment":{"C":"1.10","empty":""},"paths":[{"path":"/srv/data","type":"directory","uid":65532,"permissions":488,"recursive":true},{"path":"/bin/x","type":"symlink","source":"../y"}],"vcs-url":"https://example.org/r@abc","annotations":{"a":"true"},"volumes":["/data"],"layering":{"strategy":"origin","budget":10},"format":"tar"}"#);
    let user = &configuration.accounts.users[0];
    assert_eq!(
        (user.group(), user.shell(), user.home.as_str()),
        (65532, "/bin/sh", "/home/nonroot")
    );
}

#[test]
fn all_problems_at_once() {
    let text = r#"
contents:
  packges: [hello]
  packages: [hello=, "a b"]
  repositories: ["@edge", "ftp://x"]
  baseimage: {apkindex: y}
  runtime_keyring:
    - {name: ../k, content: x}
    - {name: k.pub, content: x}
    - {name: k.pub, content: x}
entrypoint: {type: service, command: "sh 'x"}
work-dir: srv
accounts:
  users: [{username: root2, uid: 0}, {username: "a:b", uid: 1}, {uid: 5}, {username: c, uid: 1, homedir: /../x}]
archs: [x86-64, all]
environment: {"A=B": c}
format: erofs
layering: {strategy: size, budget: -1}
certificates: {additional: [{name: c, content: nothing}]}
"#;
    insta::assert_snapshot!(refused(text), @r#"
    image.yaml:3:3: unknown key `packges` in `contents`
        help: did you mean `packages`? Valid keys: baseimage, build_repositories, keyring, packages, repositories, runtime_keyring, runtime_repositories
    image.yaml:4:14: `hello=`: `` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
        help: write a package as `name`, `name=1.2-r3`, `name>=1.2`, `name~1.2` or `!name`, and a repository's tag as `name@tag`
    image.yaml:4:22: `a b` holds ' ', which no name has; expected name[@tag][<>=~version]
        help: write a package as `name`, `name=1.2-r3`, `name>=1.2`, `name~1.2` or `!name`, and a repository's tag as `name@tag`
    image.yaml:5:18: `@edge` is no repository: a tag is written `@name folder-or-URL`
        help: write a folder or URL, or `@tag` and a folder or URL
    image.yaml:5:27: `ftp://x` is no repository: ftp: is not supported; expected [@tag] followed by a folder or an http(s) URL
        help: write a folder or URL, or `@tag` and a folder or URL
    image.yaml:6:14: `baseimage` has no `image`
    image.yaml:8:14: "../k" can't be the name of a key
        help: it becomes a file's name: letters, digits, `_`, `.` and `-`, not starting with `.`
    image.yaml:8:14: the key `../k` can't be used: no key is in it: expected a PEM block `-----BEGIN PUBLIC KEY-----`
        help: `content` is an RSA public key in PEM
    image.yaml:9:14: the key `k.pub` can't be used: no key is in it: expected a PEM block `-----BEGIN PUBLIC KEY-----`
        help: `content` is an RSA public key in PEM
    image.yaml:10:14: two keys are named `k.pub`
        help: give each its own name
    image.yaml:10:14: the key `k.pub` can't be used: no key is in it: expected a PEM block `-----BEGIN PUBLIC KEY-----`
        help: `content` is an RSA public key in PEM
    image.yaml:11:20: `service` is no type of entrypoint
        help: the only type is `service-bundle`; leave the key out for a plain command
    image.yaml:11:38: `command` is no command line: the quote ' has no end
        help: close the quote, or put a backslash before it
    image.yaml:12:11: `work-dir` is `srv`, which is relative to nothing
        help: begin it with a `/`
    image.yaml:14:34: a user with uid 0 is root by another name
        help: give another uid; to run as root, write `run-as: 0`
    image.yaml:14:49: "a:b" can't be a user's name
        help: colons, commas and line breaks separate the fields of /etc/passwd and /etc/group
    image.yaml:14:65: a user has no `username`
    image.yaml:14:106: `/../x` has a component `..`, which could leave the image
        help: write the path inside the image, such as `/home/nonroot`
    image.yaml:15:9: unknown architecture `x86-64`; known are aarch64, armhf, armv7, loongarch64, ppc64le, riscv64, s390x, x86, x86_64
        help: did you mean `x86_64`?
    image.yaml:15:17: unknown architecture `all`; known are aarch64, armhf, armv7, loongarch64, ppc64le, riscv64, s390x, x86, x86_64
        help: `all` and `host` belong on the command line: `--arch host`
    image.yaml:16:15: "A=B" can't be the name of an environment variable
        help: a name is not empty and has no `=`
    image.yaml:18:22: `size` is no way of splitting layers
        help: the strategies are `origin` and `package`; leave `layering` out for one layer
    image.yaml:18:36: expected an integer between 0 and 4294967295, found `-1`
    image.yaml:19:36: `c` holds 0 certificates
        help: `content` is exactly one certificate in PEM; give each its own entry
    "#);
}

#[test]
fn paths_stay_inside() {
    let text = r#"
paths:
  - {path: ../etc/passwd, type: empty-file}
  - {path: /a/../../b, type: directory}
  - {path: /, type: directory}
  - {path: "/a\nb", type: directory}
  - {path: /a, type: hardlink, source: /../../etc/shadow}
  - {path: /a, type: hardlink}
  - {path: /a, type: symlink, source: "x\0y"}
  - {path: /a, type: direcotry}
  - {path: /a, type: permissions}
  - {path: /a, type: directory, permissions: 99999}
"#;
    insta::assert_snapshot!(refused(text), @r#"
    image.yaml:3:5: `permissions` is left out: polpo makes the empty-file 0644, apko 0000
        help: write `permissions: 0o644`
    image.yaml:3:12: `../etc/passwd` has a component `..`, which could leave the image
        help: write the path inside the image, such as `/var/lib/service`
    image.yaml:4:5: `permissions` is left out: polpo makes the directory 0755, apko 0000
        help: write `permissions: 0o755`
    image.yaml:4:12: `/a/../../b` has a component `..`, which could leave the image
        help: write the path inside the image, such as `/var/lib/service`
    image.yaml:5:5: `permissions` is left out: polpo makes the directory 0755, apko 0000
        help: write `permissions: 0o755`
    image.yaml:5:12: `/` names the image's root and nothing inside it
        help: write the path inside the image, such as `/var/lib/service`
    image.yaml:6:5: `permissions` is left out: polpo makes the directory 0755, apko 0000
        help: write `permissions: 0o755`
    image.yaml:6:12: "/a\nb" has a control character
        help: write the path inside the image, such as `/var/lib/service`
    image.yaml:7:40: `/../../etc/shadow` has a component `..`, which could leave the image
        help: write the path inside the image, such as `/var/lib/service`
    image.yaml:8:5: a hardlink has no `source`
        help: `source` is what it points to
    image.yaml:9:39: "x\0y" has a control character
        help: write the path inside the image, such as `/var/lib/service`
    image.yaml:10:22: `direcotry` is no type of path
        help: did you mean `directory`?
    image.yaml:11:5: a path of type `permissions` changes nothing
        help: give `permissions`, `uid` or `gid`
    image.yaml:12:46: 0o303237 is more than permission bits
        help: write an octal number up to 0o7777, such as 0o755; without the 0 in front it is decimal
    "#);
}

#[test]
fn left_out_permissions_are_told() {
    let source = SourceText::new("image.yaml", "paths:\n  - {path: /a, type: directory}\n");
    let (configuration, warnings) = parse(source).unwrap();
    assert_eq!(configuration.paths[0].permissions, None);
    insta::assert_snapshot!(shown(&warnings), @r"
    image.yaml:2:5: `permissions` is left out: polpo makes the directory 0755, apko 0000
        help: write `permissions: 0o755`
    ");
}

#[test]
fn empty_and_odd_files() {
    insta::assert_snapshot!(refused(""), @"image.yaml:1:1: the image file is empty");
    insta::assert_snapshot!(refused("[]"), @"image.yaml:1:1: expected a mapping for the image file, found a list");
    insta::assert_snapshot!(refused("contents:\n  packages: hello\n"), @"image.yaml:2:13: expected a list, found `hello`");
    insta::assert_snapshot!(refused("archs: [x86_64]\narchs: [aarch64]\n"), @r"
    image.yaml:2:1: the key `archs` stands twice
        help: remove one of the two
    ");
    assert_eq!(
        decoded("contents: ~\n").unwrap(),
        ImageConfiguration::default()
    );
}

#[test]
fn all_real_images_decode() {
    let mut count = 0;
    for entry in std::fs::read_dir(testkit::corpus().join("images")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let source = SourceText::new(path.display().to_string(), text);
        let (configuration, warnings) =
            parse(source).unwrap_or_else(|problems| panic!("{}", shown(&problems)));
        let unexpected = warnings
            .iter()
            .filter(|warning| warning.rule != "link-permissions");
        assert_eq!(unexpected.count(), 0, "{}", shown(&warnings));
        assert!(!configuration.contents.packages.is_empty(), "{path:?}");
        count += 1;
    }
    assert_eq!(count, 110);
}

#[test]
fn includes_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "base.yaml",
        "contents: {packages: [base]}\ncmd: below\nwork-dir: /below\nenvironment: {A: below, B: below}\n",
    );
    write(
        "top.yaml",
        "include: base.yaml\ncontents: {packages: [top]}\ncmd: above\nenvironment: {A: above}\n",
    );
    let loaded = load(&folder.path().join("top.yaml"), &[]).unwrap();
    let names: Vec<&str> = loaded
        .sources
        .iter()
        .map(|source| source.name().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["top.yaml", "base.yaml"]);
    let configuration = loaded.configuration;
    let packages: Vec<String> = configuration
        .contents
        .packages
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(packages, ["base", "top"]);
    assert_eq!(configuration.cmd, "above");
    assert_eq!(configuration.work_dir, "/below");
    assert_eq!(
        configuration.environment,
        [("A", "above"), ("B", "below")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into()
    );

    write("circle.yaml", "include: circle.yaml\n");
    write("lost.yaml", "cmd: a\ninclude: github.com/x/y\n");
    let failed = |name: &str| {
        shown(&load(&folder.path().join(name), &[]).unwrap_err())
            .replace(&folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(failed("circle.yaml"), @r"
    DIR/circle.yaml:1:10: `circle.yaml` includes itself in the end
        help: remove one of the includes of the circle
    ");
    insta::assert_snapshot!(failed("lost.yaml"), @r"
    DIR/lost.yaml:2:10: can't include `github.com/x/y`: no such file
        help: an include is a local file, relative to this file, the working directory or --include-paths
    ");
    insta::assert_snapshot!(failed("nowhere.yaml"), @r"
    can't read the image file DIR/nowhere.yaml: No such file or directory (os error 2)
        help: check the path
    ");
}

#[test]
fn the_distributions_own_images_decode() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../os/images");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let loaded = load(&entry.unwrap().path(), &[])
            .unwrap_or_else(|problems| panic!("{}", shown(&problems)));
        assert!(loaded.warnings.is_empty(), "{}", shown(&loaded.warnings));
        count += 1;
    }
    assert!(count > 0);
}

/// The keys of every mapping, as the table for schema and reference has them, are the keys that are
/// read: a key that isn't known is answered with those that are.
#[test]
fn the_table_has_the_keys_that_are_read() {
    fn visit(
        form: yaml::Form,
        before: &str,
        after: &str,
        known: &mut Vec<(String, Vec<&'static str>)>,
    ) {
        match form {
            yaml::Form::Record(fields) => {
                let text = format!("{before}{{nothing-such: 1}}{after}");
                known.push((text, fields.iter().map(|field| field.key).collect()));
                for field in fields {
                    visit(
                        (field.form)(),
                        &format!("{before}{{{}: ", field.key),
                        &format!("}}{after}"),
                        known,
                    );
                }
            }
            yaml::Form::List(inner) => {
                visit(inner(), &format!("{before}["), &format!("]{after}"), known)
            }
            _ => {}
        }
    }
    let mut known = Vec::new();
    visit(form(), "", "", &mut known);
    assert!(known.len() > 10);
    for (text, mut keys) in known {
        keys.sort_unstable();
        let problems = parse(SourceText::new("image.yaml", text.clone())).unwrap_err();
        let unknown = problems
            .iter()
            .find(|problem| problem.message.contains("nothing-such"));
        let help = unknown.and_then(|problem| problem.help.clone()).unwrap();
        assert!(help.ends_with(&keys.join(", ")), "{text}: {help}\n{keys:?}");
    }
    assert!(schema().contains("\"layering\""));
}

/// What `apko show-config` prints of the same files, read back and written by one writer, has this
/// digest: both decode every value of all of them alike.
#[test]
fn real_images_are_shown_as_apko_shows_them() {
    let mut paths: Vec<_> = std::fs::read_dir(testkit::corpus().join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut all = String::new();
    for path in paths {
        let loaded = load(&path, &[])
            .unwrap_or_else(|problems| panic!("{}", super::tests::shown(&problems)));
        all.push_str(&normal(&super::shown(&loaded.configuration)));
    }
    assert_eq!(
        base::Digest::of(all.as_bytes()).hex(),
        "d6d0d923c27e4752b4581436fb2c2173c7b74b2707d9bdcf1dde457f59e84b91"
    );
}

fn normal(text: &str) -> String {
    let document = yaml::Document::parse(SourceText::new("shown", text.to_owned())).unwrap();
    yaml::to_string(&sorted(yaml::Item::from(&document.root)))
}

fn sorted(item: yaml::Item) -> yaml::Item {
    match item {
        yaml::Item::List(items) => yaml::Item::List(items.into_iter().map(sorted).collect()),
        yaml::Item::Map(mut entries) => {
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            let entries = entries.into_iter().map(|(key, item)| (key, sorted(item)));
            yaml::Item::Map(entries.collect())
        }
        other => other,
    }
}

#[test]
fn passwords_are_not_shown() {
    let text = "contents:\n  repositories: ['https://me:secret@example.org/os', '@edge https://me:secret@example.org/edge']\n";
    let configuration = decoded(text).unwrap();
    insta::assert_snapshot!(super::shown(&configuration), @r#"
    contents:
      repositories:
        - https://example.org/os
        - "@edge https://example.org/edge"
    "#);
}

#[test]
fn accounts_differ() {
    let text = "
accounts:
  users: [{username: a, uid: 5}, {username: b, uid: 5}, {username: a, uid: 6}]
  groups: [{groupname: g, gid: 7}, {groupname: h, gid: 7}]
";
    insta::assert_snapshot!(refused(text), @"
    image.yaml:3:34: two users have the uid 5
        help: give each user its own name and uid; files belong to a number
    image.yaml:3:57: two users are named `a`
        help: give each user its own name and uid; files belong to a number
    image.yaml:4:36: two groups have the gid 7
        help: give each group its own name and gid; files belong to a number
    ");
}

#[test]
fn an_erofs_image_is_one_layer_of_its_own() {
    let text = "contents: {baseimage: {image: x}}\nlayering: {strategy: origin}\nformat: erofs\n";
    insta::assert_snapshot!(refused(text), @"
    image.yaml:3:9: an EROFS image is one layer, and `layering` asks for several
        help: leave one of them out
    image.yaml:3:9: an EROFS image has all files of an image, and can't be added to another
        help: leave `baseimage` or `format` out
    ");
    insta::assert_snapshot!(refused("format: squashfs\n"), @"
    image.yaml:1:9: `squashfs` is no layer format
        help: the formats are `tar` and `erofs`
    ");
}
