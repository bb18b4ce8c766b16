//! Real clients of registries: what they get is recorded, and replayed bit for bit.
//!
//! The registries are stand-ins behind public names; the clients are those of this machine, told
//! of a registry as each is told of one, and of the proxy by nothing but the environment.

use std::fs;
use std::path::Path;
use std::process::Command;

use polpo_build::recording::{RecorderSettings, Recording};
use tempfile::TempDir;
use testkit::{Reply, Server};

use crate::network::{record, replay};
use crate::support::{Bench, listing};

struct Registries {
    server: Server,
    _folder: TempDir,
}

impl Registries {
    fn new() -> Registries {
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/registries.py");
        let status = Command::new("python3")
            .arg(script)
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        let server = Server::of(folder.path());
        let configuration = format!(r#"{{"dl":"{}"}}"#, server.url("/static"));
        server
            .on(
                "/index/config.json",
                Reply::ok(configuration).header("content-type", "application/json"),
            )
            .on(
                "/pypi/simple/greet/",
                Reply::ok(read("simple.html"))
                    .header("content-type", "text/html")
                    .header("vary", "Accept"),
            )
            .on(
                "/npm/greet",
                Reply::ok(read("packument.json"))
                    .header("content-type", "application/json")
                    .header("set-cookie", "session=secret"),
            );
        Registries {
            server,
            _folder: folder,
        }
    }

    /// Runs `script` twice, the second time without anything but the recording.
    fn twice(&self, bench: &mut Bench, script: &str) -> (Recording, String) {
        bench.executor.recorder = RecorderSettings {
            rewrites: [
                ("https://index.crates.example", "/index"),
                ("https://static.crates.example/crates", "/static"),
                ("https://modules.example", "/go"),
                ("https://npm.example", "/npm"),
                ("https://python.example", "/pypi"),
                ("https://files.python.example", "/files"),
                ("https://maven.example/maven2", "/maven2"),
            ]
            .map(|(public, path)| {
                let rewrite = format!("{public}={}", self.server.url(path));
                rewrite.parse().unwrap()
            })
            .to_vec(),
            // Whoever asks for anything else is told so.
            hosts: [
                "*.crates.example",
                "modules.example",
                "npm.example",
                "python.example",
                "files.python.example",
                "maven.example",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..RecorderSettings::default()
        };
        let (output, recording) = match record(bench, script) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        };
        let (first, printed) = (listing(&output.trees["hello"]), bench.lines.text());
        assert!(first.lines().count() > 1, "something was built");
        let asked = self.server.paths().len();
        let output = match replay(bench, &recording, script) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(listing(&output.trees["hello"]), first);
        assert_eq!(self.server.paths().len(), asked, "nobody is asked");
        let text = serde_json::to_string(&recording).unwrap();
        assert!(!text.contains("127.0.0.1"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        (recording, printed)
    }
}

/// What a program of this machine prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output
        .unwrap_or_else(|error| panic!("`{program}` must be installed for this test: {error}"));
    assert!(output.status.success(), "{program}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Lets steps see a folder of programs where it is, and find them.
fn with_programs(bench: &mut Bench, folder: &str) -> String {
    if !folder.starts_with("/usr/lib") && folder != "/usr" {
        bench.see(folder, folder);
    }
    format!("export PATH={folder}/bin:$PATH\n")
}

fn urls(recording: &Recording) -> String {
    let exchanges = recording.exchanges().iter();
    let lines: Vec<String> = exchanges
        .map(|exchange| format!("{} {}", exchange.status, exchange.url))
        .collect();
    lines.join("\n")
}

#[test]
fn cargo() {
    let registries = Registries::new();
    let mut bench = Bench::with_host_programs();
    let path = with_programs(&mut bench, &printed("rustc", &["--print", "sysroot"]));
    let script = format!(
        "{path}
        export CARGO_HOME=/home/build/.cargo
        mkdir .cargo
        printf '[source.crates-io]\\nreplace-with = \"public\"\\n[source.public]\\nregistry = \"sparse+https://index.crates.example/\"\\n' > .cargo/config.toml
        mkdir src
        printf '[package]\\nname = \"app\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\ngreet = \"1\"\\n' > Cargo.toml
        echo 'fn main() {{ println!(\"{{}}\", greet::GREETING) }}' > src/main.rs
        cargo build --quiet --release
        ./target/release/app
        cp target/release/app Cargo.lock melange-out/hello/"
    );
    let (recording, text) = registries.twice(&mut bench, &script);
    insta::assert_snapshot!(text, @"hello");
    insta::assert_snapshot!(urls(&recording), @"
    200 https://index.crates.example/config.json
    200 https://index.crates.example/gr/ee/greet
    200 https://static.crates.example/crates/greet/1.0.0/download
    ");
}

#[test]
fn go() {
    let registries = Registries::new();
    let mut bench = Bench::with_host_programs();
    let path = with_programs(&mut bench, &printed("go", &["env", "GOROOT"]));
    let script = format!(
        "{path}
        export CGO_ENABLED=0 GOFLAGS='-mod=mod -trimpath' GONOSUMDB=example.com GOTOOLCHAIN=local
        export GOPROXY=https://modules.example
        export GOMODCACHE=/home/build/modules
        printf 'module example.com/app\\n\\ngo 1.18\\n\\nrequire example.com/greet v1.0.0\\n' > go.mod
        printf 'package main\\n\\nimport \"example.com/greet\"\\n\\nfunc main() {{ println(greet.Greeting) }}\\n' > main.go
        go build -o melange-out/hello/app .
        ./melange-out/hello/app 2>&1
        cp go.sum melange-out/hello/"
    );
    let (recording, text) = registries.twice(&mut bench, &script);
    insta::assert_snapshot!(text.lines().last().unwrap(), @"hello");
    // Which of the other files is asked for is a matter of its version.
    let archive = "200 https://modules.example/example.com/greet/@v/v1.0.0.zip";
    assert!(urls(&recording).contains(archive), "{}", urls(&recording));
}

#[test]
fn pip() {
    let registries = Registries::new();
    let mut bench = Bench::with_host_programs();
    let prefix = printed("python3", &["-c", "import sys; print(sys.base_prefix)"]);
    let path = with_programs(&mut bench, &prefix);
    // An environment has a pip of its own, whatever the machine's packages have.
    let script = format!(
        "{path}
        export PIP_INDEX_URL=https://python.example/simple
        export PIP_CACHE_DIR=/home/build/.cache/pip PYTHONDONTWRITEBYTECODE=1
        python3 -m venv environment
        environment/bin/pip install --quiet --no-compile --target melange-out/hello/lib greet==1.0.0
        PYTHONPATH=melange-out/hello/lib python3 -c 'import greet; print(greet.GREETING)'"
    );
    let (recording, text) = registries.twice(&mut bench, &script);
    insta::assert_snapshot!(text.lines().last().unwrap(), @"hello");
    insta::assert_snapshot!(urls(&recording), @"
    200 https://files.python.example/packages/aa/greet-1.0.0-py3-none-any.whl
    200 https://python.example/simple/greet/
    ");
    // The page is another one for those who ask for another form.
    assert!(recording.exchanges().iter().any(|exchange| {
        exchange.url.ends_with("/simple/greet/") && exchange.request.contains_key("accept")
    }));
}

#[test]
fn npm() {
    let registries = Registries::new();
    let mut bench = Bench::with_host_programs();
    let node = printed("node", &["-p", "process.execPath"]);
    let prefix = Path::new(&node).ancestors().nth(2).unwrap();
    let path = with_programs(&mut bench, prefix.to_str().unwrap());
    let script = format!(
        "{path}
        export npm_config_cache=/home/build/.npm npm_config_registry=https://npm.example/
        echo '{{\"name\":\"app\",\"version\":\"1.0.0\"}}' > package.json
        npm install --silent greet@1.0.0
        node -p 'require(\"greet\")'
        cp -r node_modules package-lock.json melange-out/hello/"
    );
    let (recording, text) = registries.twice(&mut bench, &script);
    insta::assert_snapshot!(text.lines().last().unwrap(), @"hello");
    insta::assert_snapshot!(urls(&recording), @"
    200 https://npm.example/greet
    200 https://npm.example/greet/-/greet-1.0.0.tgz
    ");
}

#[test]
fn maven() {
    let registries = Registries::new();
    let mut bench = Bench::with_host_programs();
    bench.see("/etc/maven", "/etc/maven");
    for entry in fs::read_dir("/etc").unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().starts_with("/etc/java-") {
            bench.see(&path, &path.to_string_lossy());
        }
    }
    let script = "
        printf '<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><parent><groupId>com.example</groupId><artifactId>greet</artifactId><version>1.0.0</version><relativePath/></parent><artifactId>app</artifactId><packaging>pom</packaging></project>' > pom.xml
        printf '<settings><mirrors><mirror><id>all</id><mirrorOf>*</mirrorOf><url>https://maven.example/maven2</url></mirror></mirrors></settings>' > settings.xml
        mvn -q -B -s settings.xml -Dmaven.repo.local=/home/build/repository validate 2>&1
        cp /home/build/repository/com/example/greet/1.0.0/greet-1.0.0.pom melange-out/hello/";
    let (recording, _) = registries.twice(&mut bench, script);
    insta::assert_snapshot!(urls(&recording), @"
    200 https://maven.example/maven2/com/example/greet/1.0.0/greet-1.0.0.pom
    200 https://maven.example/maven2/com/example/greet/1.0.0/greet-1.0.0.pom.sha1
    ");
}
