//! A web server that reads what it is sent, each request on a connection of its own.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// The token of `Authorization: Bearer`.
    pub(super) bearer: Option<String>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
    /// The name of what was made.
    pub(super) tag: Option<String>,
}

impl Response {
    pub(super) fn json(status: u16, value: &serde_json::Value) -> Response {
        Response {
            status,
            kind: "application/json",
            body: value.to_string().into_bytes(),
            tag: None,
        }
    }

    pub(super) fn refused(status: u16, message: &str) -> Response {
        Response::json(
            status,
            &serde_json::json!({"code": status, "message": message}),
        )
    }
}

/// Serves on a free port; gives its URL.
pub(super) fn serve(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                // A client that goes away is no concern of the server's.
                let _ = converse(&stream, &*answer);
            });
        }
    });
    format!("http://{address}")
}

fn converse(mut stream: &TcpStream, answer: &dyn Fn(&Request) -> Response) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let (mut length, mut bearer) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        if name.eq_ignore_ascii_case("authorization") {
            bearer = value.trim().strip_prefix("Bearer ").map(str::to_owned);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let response = answer(&Request {
        method,
        path: path.clone(),
        bearer,
        body,
    });
    write!(
        stream,
        "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
        response.status,
        response.kind,
        response.body.len()
    )?;
    if let Some(tag) = &response.tag {
        write!(stream, "ETag: {tag}\r\nLocation: {path}/{tag}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&response.body)?;
    stream.flush()
}
