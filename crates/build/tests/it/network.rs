//! The network of steps: recorded, replayed, and what a hostile step makes of it.

use polpo_build::executor::{BuildOutput, ExecuteError};
use polpo_build::plan::Network;
use polpo_build::recording::{RecorderSettings, Recording};
use testkit::{Reply, Server};

use crate::support::Bench;

/// A registry that everyone knows as `https://registry.example`, and a guest with curl.
pub(crate) fn bench(server: &Server) -> Bench {
    let mut bench = Bench::with_host_programs();
    bench.executor.recorder = RecorderSettings {
        rewrites: vec![
            format!("https://registry.example={}", server.url(""))
                .parse()
                .unwrap(),
        ],
        ..RecorderSettings::default()
    };
    bench
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
      }
    ]
    "#);
    assert_eq!(server.paths().len(), 5);
    replay(&mut bench, &recording, script).unwrap();
    assert_eq!(bench.lines.text(), recorded);
    assert_eq!(server.paths().len(), 5, "nobody is asked");
    // The plan is another one with another recording.
    let digest = |recording: &Recording| bench.plan.clone().replaying(recording.clone()).digest();
    assert_ne!(digest(&recording), digest(&Recording::default()));
}
