use std::fmt::Write;

use super::PROGRAM;
use crate::command::other_program::tests::{translated, understood};

#[test]
fn command_lines_become_polpos() {
    let lines = [
        "build a.yaml hello:1 out.tar --arch x86_64,aarch64 -k k.pub -r ./packages -p curl,jq --annotations a:b",
        "build a.yaml hello:1 /tmp --sbom=false --build-date 1970-01-02T00:00:00Z --vcs=false --cache-dir c --offline --lockfile a.lock.json",
        "publish a.yaml registry.example/a:1 registry.example/a:2 --image-refs refs --sbom-path s --log-level debug",
        "build-minirootfs a.yaml root.tar --build-arch arm64",
        "lock a.yaml --output b.json --include-paths x,y",
        "resolve dir/a.yaml --arch host",
        "show-config a.yaml -r ./packages",
        "show-packages a.yaml --format packagelock --arch amd64",
        "erofs ls oci-dir:out --arch amd64",
        "dot -S a.yaml --arch amd64 --parity",
        "login registry.example -u ann --password-stdin",
        "clean --dry-run --cache-dir c",
        "version",
        "completion zsh",
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "$ apko {line}\n{}", translated(&PROGRAM, line)).unwrap();
    }
    insta::assert_snapshot!(text, @r#"
    $ apko build a.yaml hello:1 out.tar --arch x86_64,aarch64 -k k.pub -r ./packages -p curl,jq --annotations a:b
    polpo image build a.yaml hello:1 SCRATCH/layout --keyring-append=k.pub --repository-append=./packages --package-append=curl --package-append=jq --annotations=a:b --arch=x86_64,aarch64 --sbom-path=.
    Archive { layout: "SCRATCH/layout", reference: Reference { repository: RepositoryName { registry: "docker.io", path: "library/hello" }, tag: Some("1"), digest: None }, output: "out.tar" }

    $ apko build a.yaml hello:1 /tmp --sbom=false --build-date 1970-01-02T00:00:00Z --vcs=false --cache-dir c --offline --lockfile a.lock.json
    polpo image build a.yaml hello:1 /tmp --store=c --offline --lockfile=a.lock.json --arch=all --source-date-epoch=86400
    note: --vcs has no effect: write `vcs-url` into the image file: what is built depends on no folder's git

    $ apko publish a.yaml registry.example/a:1 registry.example/a:2 --image-refs refs --sbom-path s --log-level debug
    polpo image build a.yaml registry.example/a:1 SCRATCH/layout --verbose --arch=all --sbom-path=s
    polpo image publish SCRATCH/layout registry.example/a:1 registry.example/a:2 --image-refs=refs

    $ apko build-minirootfs a.yaml root.tar --build-arch arm64
    polpo image minirootfs a.yaml root.tar --arch=arm64

    $ apko lock a.yaml --output b.json --include-paths x,y
    polpo image lock a.yaml --include-paths=x --include-paths=y --output=b.json --arch=all

    $ apko resolve dir/a.yaml --arch host
    polpo image lock dir/a.yaml --arch=host --output=dir/a.resolved.json

    $ apko show-config a.yaml -r ./packages
    polpo image show a.yaml
    note: --repository-append has no effect: it changes nothing here

    $ apko show-packages a.yaml --format packagelock --arch amd64
    polpo image packages a.yaml --format=packagelock --arch=amd64

    $ apko erofs ls oci-dir:out --arch amd64
    polpo image files oci:out --arch=amd64

    $ apko dot -S a.yaml --arch amd64 --parity
    polpo image dot a.yaml --spanning-tree --parity --arch=amd64

    $ apko login registry.example -u ann --password-stdin
    polpo login registry.example --username=ann --password-stdin

    $ apko clean --dry-run --cache-dir c
    polpo clean --store=c --dry-run

    $ apko version
    polpo --version

    $ apko completion zsh
    polpo completions zsh apko
    "#);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let lines = [
        "build a.yaml hello:1",
        "build a.yaml Hello out.tar",
        "build a.yaml hello:1 out.tar --ignore-signatures",
        "build a.yaml hello:1 out.tar --sbom-formats cyclonedx",
        "erofs mount out /mnt",
        "build a.yaml hello:1 out.tar --build-date yesterday",
        "publish a.yaml hello:1 --local",
        "dot a.yaml --web",
        "login registry.example -u ann -p secret",
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "$ apko {line}\n{}", translated(&PROGRAM, line)).unwrap();
    }
    insta::assert_snapshot!(text, @"
    $ apko build a.yaml hello:1
    error: apko build takes CONFIG TAG OUTPUT; 2 words are there

    $ apko build a.yaml Hello out.tar
    error: `Hello` is no image reference: paths of repositories are in lower case

    $ apko build a.yaml hello:1 out.tar --ignore-signatures
    error: indexes whose signature nobody checked are not used; name the key by -k, or leave --ignore-signatures out

    $ apko build a.yaml hello:1 out.tar --sbom-formats cyclonedx
    error: --sbom-formats: `cyclonedx` is not written; `spdx` is

    $ apko erofs mount out /mnt
    error: what is mounted is the system's own work: `polpo image copy IMAGE erofs:FILE`, then `mount -t erofs -o loop,ro FILE FOLDER` as root, or `erofsfuse FILE FOLDER`

    $ apko build a.yaml hello:1 out.tar --build-date yesterday
    error: --build-date is `yesterday`, which is no time such as 2026-01-31T12:00:00Z

    $ apko publish a.yaml hello:1 --local
    error: --local sends to Docker: build into a layout and `polpo image copy LAYOUT docker:NAME`

    $ apko dot a.yaml --web
    error: --web: give the graph to Graphviz: `apko dot CONFIG | dot -Tsvg`

    $ apko login registry.example -u ann -p secret
    error: a password on the command line can be read by everybody on the machine; use --password-stdin
    ");
}

#[test]
fn lines_are_understood_by_polpo() {
    for line in ["lock a.yaml --arch host --output b.json", "clean --dry-run"] {
        understood(&PROGRAM, line);
    }
}
