//! The network of steps: recorded, replayed, and what a hostile step makes of it.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use base::Digest;
use polpo_build::executor::{BuildOutput, ExecuteError};
use polpo_build::plan::Network;
use polpo_build::recording::{Proxy, RecorderSettings, Recording};
use polpo_build::sandbox::Gateway as _;
use store::Store;
use tempfile::TempDir;
use testkit::{Reply, Server};

use crate::support::Bench;

/// A registry that everyone knows as `https://registry.example`, and a guest with curl.
pub(crate) fn bench(server: &Server) -> Bench {
    let mut bench = Bench::with_host_programs();
    bench.executor.recorder = settings("https://registry.example", server);
    bench
}

fn settings(public: &str, server: &Server) -> RecorderSettings {
    let rewrite = format!("{public}={}", server.url(""));
    RecorderSettings {
        rewrites: vec![rewrite.parse().unwrap()],
        ..RecorderSettings::default()
    }
}

pub(crate) fn record(
    bench: &mut Bench,
    script: &str,
) -> Result<(BuildOutput, Recording), ExecuteError> {
    bench.plan.network = Network::Recorded;
    bench.plan.recording = Recording::default();
    bench.step(script);
    let output = bench.build()?;
    let recording = output.recording.clone().unwrap();
    Ok((output, recording))
}

pub(crate) fn replay(
    bench: &mut Bench,
    recording: &Recording,
    script: &str,
) -> Result<BuildOutput, ExecuteError> {
    bench.plan.network = Network::Replayed;
    bench.plan.recording = recording.clone();
    bench.step(script);
    bench.build()
}

#[test]
fn what_is_recorded_is_replayed_byte_for_byte() {
    let server = Server::start();
    server
        .on("/a", Reply::ok("first").etag("one"))
        .on("/a", Reply::ok("second").etag("two"))
        .on(
            "/from",
            Reply::redirect("https://registry.example/a?token=secret"),
        )
        .on("/a?token=secret", Reply::ok("redirected"))
        .on("/gone", Reply::status(404))
        .on("/long", Reply::ok("x".repeat(3_000_000)));
    let mut bench = bench(&server);
    let script = "
        curl -sS -I https://registry.example/long | grep -i length
        curl -sS -i https://registry.example/a
        echo; curl -sS https://registry.example/a; echo
        curl -sS -L -w ' %{url_effective}\\n' https://registry.example/from
        curl -sS -o /dev/null -w '%{http_code}\\n' https://registry.example/gone
        curl -sS https://registry.example/long | sha256sum
        curl -sS -r 1-3 https://registry.example/a; echo
        curl -sS -I https://registry.example/a
        curl -sS -o /dev/null -w '%{http_code}\\n' -H 'If-None-Match: \"one\"' https://registry.example/a";
    let (_, recording) = match record(&mut bench, script) {
        Ok(result) => result,
        Err(error) => panic!("{error}"),
    };
    let recorded = bench.lines.text();
    insta::assert_snapshot!(recorded, @r#"
    content-length: 3000000
    HTTP/1.1 200 OK

    HTTP/1.1 200 OK
    etag: "one"
    content-length: 5

    first
    first
    redirected https://registry.example/a?token=REDACTED
    404
    e55b8bdf621ddaa8f462c74745db9680d3bb7536a9cf854f8d6668b34a287890  -
    irs
    HTTP/1.1 200 OK

    HTTP/1.1 200 OK
    etag: "one"
    content-length: 5

    304
    "#);
    let json = serde_json::to_string_pretty(&recording).unwrap();
    insta::assert_snapshot!(json, @r#"
    [
      {
        "url": "https://registry.example/a",
        "headers": {
          "etag": "\"one\""
        },
        "digest": "sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
        "size": 5
      },
      {
        "url": "https://registry.example/a?token=REDACTED",
        "digest": "sha256:adbb729b7e9db01a9469d540d24270e511ca8689c9c103870b442bcc4c53c6e0",
        "size": 10
      },
      {
        "url": "https://registry.example/from",
        "status": 302,
        "headers": {
          "location": "https://registry.example/a?token=REDACTED"
        },
        "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "size": 0
      },
      {
        "url": "https://registry.example/gone",
        "status": 404,
        "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "size": 0
      },
      {
        "url": "https://registry.example/long",
        "digest": "sha256:e55b8bdf621ddaa8f462c74745db9680d3bb7536a9cf854f8d6668b34a287890",
        "size": 3000000
      },
      {
        "url": "https://registry.example/long",
        "method": "HEAD",
        "headers": {
          "content-length": "3000000"
        },
        "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "size": 0
      }
    ]
    "#);
    assert_eq!(server.paths().len(), 6);
    replay(&mut bench, &recording, script).unwrap();
    assert_eq!(bench.lines.text(), recorded);
    assert_eq!(server.paths().len(), 6, "nobody is asked");
    // The plan is another one with another recording.
    let digest = |recording: &Recording| bench.plan.clone().replaying(recording.clone()).digest();
    assert_ne!(digest(&recording), digest(&Recording::default()));
}

/// A bench whose servers are asked by their own addresses, which `hosts` must name.
fn open_bench(hosts: &[&str]) -> Bench {
    let mut bench = Bench::with_host_programs();
    bench.executor.recorder.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    bench
}

/// What a step must do for its question to reach the proxy, whatever the host.
const PROXIED: &str = "curl -sS --noproxy '' -x http://127.0.0.1:61080 --max-time 20";

#[test]
fn a_url_that_is_not_recorded_is_named() {
    let server = Server::start();
    server.on("/a", Reply::ok("a")).on("/b", Reply::ok("b"));
    let mut bench = bench(&server);
    let (_, recording) = record(&mut bench, "curl -sSf https://registry.example/a").unwrap();
    let error = replay(
        &mut bench,
        &recording,
        "curl -sSf https://registry.example/a?x=1 || true
        curl -sSf 'https://me:secret@registry.example/b?token=secret'",
    )
    .unwrap_err()
    .to_string();
    let error = error.split("\nthe whole log").next().unwrap();
    insta::assert_snapshot!(error, @"
    step `step 1` failed with exit code 22
      | curl: (22) The requested URL returned error: 403
      | curl: (22) The requested URL returned error: 403
    the network did not answer:
      GET https://registry.example/a?x=1 (step `step 1`): it is not in the recording; record the recipe again with `--network record`
      GET https://registry.example/b?token=REDACTED (step `step 1`): it is not in the recording; record the recipe again with `--network record`
    ");
    // Whoever goes on without an answer is told, too.
    let script = "curl -sS -o /dev/null https://registry.example/b";
    replay(&mut bench, &recording, script).unwrap();
    insta::assert_snapshot!(bench.lines.text(), @"polpo: not answered: GET https://registry.example/b (step `step 1`): it is not in the recording; record the recipe again with `--network record`");
    assert_eq!(server.paths(), ["/a"]);
}

#[test]
fn the_proxy_is_the_only_way_out() {
    let server = Server::start();
    server.on("/a", Reply::ok("a"));
    let mut bench = bench(&server);
    let address = server.url("").replace("http://", "").replace(':', " ");
    let script = format!(
        "ip -o link | cut -d: -f2; ip route
        for target in '{address}' '192.0.2.1 80'; do
            if nc -w 2 $target </dev/null 2>/dev/null; then echo \"REACHED $target\"; fi
        done
        grep -c '^ *[0-9]' /proc/net/tcp
        ls /proc/self/fd | wc -l
        ls /dev/polpo; (: > /dev/polpo/x) 2>/dev/null || echo 'read only'
        grep -l PRIVATE /dev/polpo/* || echo 'no key'"
    );
    record(&mut bench, &script).unwrap();
    insta::assert_snapshot!(bench.lines.text(), @"
     lo
    1
    4
    authority.jks
    authority.pem
    read only
    no key
    ");
    assert!(server.paths().is_empty());
}

#[test]
fn internal_addresses_are_out_of_reach() {
    let server = Server::start();
    server.on("/", Reply::ok("internal"));
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    let script = format!(
        "for url in http://127.0.0.1:{port}/ https://127.0.0.1:{port}/ http://localhost:{port}/ \
            http://2130706433:{port}/ http://[::1]:{port}/ http://[::ffff:127.0.0.1]:{port}/ \
            http://169.254.169.254/latest/meta-data/ http://10.0.0.1/ http://0.0.0.0:{port}/; do
            {PROXIED} -o /dev/null -w '%{{http_code}} %{{url}}\\n' -g $url
        done"
    );
    let mut bench = open_bench(&[]);
    let (_, recording) = record(&mut bench, &script).unwrap();
    let text = bench.lines.text();
    let answers = text.lines().filter(|line| line.starts_with("403 "));
    assert_eq!(answers.count(), 9, "{text}");
    assert!(recording.is_empty());
    assert!(server.paths().is_empty());
    // Whoever names a host means it.
    let mut bench = open_bench(&["127.0.0.1"]);
    record(&mut bench, &format!("{PROXIED} http://127.0.0.1:{port}/")).unwrap();
    assert_eq!(bench.lines.text(), "internal");
    // Another one then is not asked, wherever it is.
    let error = record(&mut bench, &format!("{PROXIED} -f http://other.invalid/"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("--network-host other.invalid"), "{error}");
}

#[test]
fn what_may_change_a_server_is_refused() {
    let server = Server::start();
    server
        .on("/x.git/git-upload-pack", Reply::ok("pack"))
        .on("/publish", Reply::ok("published"));
    let mut bench = bench(&server);
    let script = "
        for method in POST PUT DELETE PATCH; do
            curl -sS -X $method -d x https://registry.example/publish
        done
        curl -sS -d wants https://registry.example/x.git/git-upload-pack; echo
        curl -sS -d wants https://registry.example/x.git/git-upload-pack; echo";
    let (_, recording) = record(&mut bench, script).unwrap();
    let recorded = bench.lines.text();
    assert_eq!(recorded.matches("\npack").count(), 2, "{recorded}");
    assert_eq!(server.paths(), ["/x.git/git-upload-pack"]);
    assert_eq!(
        recording.exchanges()[0].question,
        Some(base::Digest::of(b"wants"))
    );
    let other = "curl -sSf -d other https://registry.example/x.git/git-upload-pack";
    replay(&mut bench, &recording, other).unwrap_err();
}

#[test]
fn credentials_reach_the_server_and_no_recording() {
    let server = Server::start();
    let reply = Reply::ok("private").header("set-cookie", "session=geheim");
    server.on("/private", reply.only_for("Basic bWU6Z2VoZWlt"));
    let mut bench = bench(&server);
    let script = "curl -sSf https://me:geheim@registry.example/private";
    let (_, recording) = record(&mut bench, script).unwrap();
    assert_eq!(bench.lines.text(), "private");
    let json = serde_json::to_string(&recording).unwrap();
    for secret in ["geheim", "bWU6", "session", "uthorization"] {
        assert!(!json.contains(secret), "{json}");
    }
    // Replayed, nobody is asked who they are.
    replay(
        &mut bench,
        &recording,
        "curl -sSf https://registry.example/private",
    )
    .unwrap();
    assert_eq!(bench.lines.text(), "private");
}

#[test]
fn what_does_not_come_whole_is_not_recorded() {
    let server = Server::start();
    server
        .on("/endless", Reply::endless())
        .on(
            "/broken",
            Reply::ok("x".repeat(100_000)).breaks_after(50_000),
        )
        .on("/busy", Reply::status(503))
        .on("/late", Reply::status(503))
        .on("/late", Reply::ok("late"));
    let mut bench = bench(&server);
    bench.executor.recorder.largest_answer = 1 << 20;
    let script = "
        curl -sS -o /dev/null -w '%{http_code}\n' https://registry.example/endless
        curl -sS -o /dev/null -w '%{http_code}\n' https://registry.example/broken 2>&1 || true
        curl -sS -o /dev/null -w '%{http_code}\n' https://registry.example/busy
        curl -sS https://registry.example/late";
    let (_, recording) = record(&mut bench, script).unwrap();
    let urls: Vec<&str> = recording.exchanges().iter().map(|one| &*one.url).collect();
    assert_eq!(urls, ["https://registry.example/late"]);
    let text = bench.lines.text();
    assert!(text.contains("raise `--network-limit`"), "{text}");
    assert!(
        text.contains("the server answers 503, which is not recorded"),
        "{text}"
    );
}

#[test]
fn who_goes_away_before_the_answer_begins_is_recorded_too() {
    let server = Server::start();
    server.on("/late", Reply::ok("late").late(Duration::from_millis(500)));
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let proxy = Proxy::record(store, settings("http://registry.example", &server)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    proxy.serve(listener);
    let mut step = TcpStream::connect(address).unwrap();
    let question = "GET http://registry.example/late HTTP/1.1\r\nHost: registry.example\r\n\r\n";
    step.write_all(question.as_bytes()).unwrap();
    while server.paths().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(step);
    let recording = proxy.recording();
    let exchange = recording.exchanges().first().expect("it is recorded");
    assert_eq!(exchange.digest, Digest::of(b"late"));
}

#[test]
fn many_ask_and_one_is_sent() {
    let server = Server::start();
    for number in 0..20 {
        server.on("/a", Reply::ok(format!("{number}\n")));
    }
    let mut bench = bench(&server);
    let script = "for number in $(seq 20); do curl -sS https://registry.example/a & done; wait
        : > said; curl -v -o answer https://registry.example/slow 2> said & slow=$!
        (while kill -0 $slow && ! grep -qi '^< content-type' said; do sleep 0.1; done; kill $slow) 2> said-too";
    server.on(
        "/slow",
        Reply::ok("s".repeat(1000))
            .header("Content-Type", "application/octet-stream")
            .slow(Duration::from_secs(1)),
    );
    let (_, recording) = record(&mut bench, script).unwrap();
    assert_eq!(bench.lines.text(), ["0"; 20].join("\n"));
    // What nobody waited for has come all the same: the next build may wait for it.
    let urls: Vec<&str> = recording.exchanges().iter().map(|one| &*one.url).collect();
    assert_eq!(
        urls,
        [
            "https://registry.example/a",
            "https://registry.example/slow"
        ]
    );
    assert_eq!(server.paths().len(), 2);
}
