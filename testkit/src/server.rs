use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A web server on a free port of this machine. Each connection is one request.
#[derive(Debug)]
pub struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    replies: BTreeMap<String, Vec<Reply>>,
    folder: Option<PathBuf>,
    asked: Vec<Asked>,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path with its query.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What a path answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    etag: Option<String>,
    user: Option<String>,
    breaks_after: Option<usize>,
    announces: Option<u64>,
    delay: Duration,
    pause: Duration,
    endless: bool,
    ranges: bool,
    unsized_body: bool,
}

impl Reply {
    /// 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            body: body.into(),
            ..Reply::status(200)
        }
    }

    /// A status without a body.
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            etag: None,
            user: None,
            breaks_after: None,
            announces: None,
            delay: Duration::ZERO,
            pause: Duration::ZERO,
            endless: false,
            ranges: true,
            unsized_body: false,
        }
    }

    /// 302 to another place.
    pub fn redirect(to: impl Into<String>) -> Reply {
        Reply::status(302).header("Location", to)
    }

    /// Bytes without end.
    pub fn endless() -> Reply {
        Reply {
            endless: true,
            ..Reply::status(200)
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Gives the body an `ETag`, without its quotes: conditions are answered by it.
    #[must_use]
    pub fn etag(mut self, tag: &str) -> Reply {
        self.etag = Some(format!("\"{tag}\""));
        self
    }

    /// Answers 401 to everyone but this `Authorization`, such as `Basic dTpw`.
    #[must_use]
    pub fn only_for(mut self, authorization: &str) -> Reply {
        self.user = Some(authorization.to_owned());
        self
    }

    /// Ends the connection after this many bytes of the body.
    #[must_use]
    pub fn breaks_after(mut self, bytes: usize) -> Reply {
        self.breaks_after = Some(bytes);
        self
    }

    /// Says that the body has this many bytes, whatever it has.
    #[must_use]
    pub fn announces(mut self, bytes: u64) -> Reply {
        self.announces = Some(bytes);
        self
    }

    /// Does not say how many bytes the body has.
    #[must_use]
    pub fn of_unknown_size(mut self) -> Reply {
        self.unsized_body = true;
        self
    }

    /// Waits before it says anything.
    #[must_use]
    pub fn late(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    /// Waits before the body.
    #[must_use]
    pub fn slow(mut self, pause: Duration) -> Reply {
        self.pause = pause;
        self
    }

    /// Always sends the whole body, whatever part is asked for.
    #[must_use]
    pub fn without_ranges(mut self) -> Reply {
        self.ranges = false;
        self
    }
}

impl Server {
    /// Starts a server that has nothing yet.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away is what some tests are about.
                    let _ = serve(&stream, &state);
                });
            }
        });
        Server { address, state }
    }

    /// Starts a server of the files below a folder, each with an `ETag`.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn of(folder: impl Into<PathBuf>) -> Server {
        let server = Server::start();
        lock(&server.state).folder = Some(folder.into());
        server
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URL of a path with a user and password in it.
    pub fn url_for(&self, user: &str, path: &str) -> String {
        format!("http://{user}@{}{path}", self.address)
    }

    /// Lets a path answer once with this, after what it was told before; the last answer stays.
    pub fn on(&self, path: &str, reply: Reply) -> &Server {
        let mut state = lock(&self.state);
        state
            .replies
            .entry(path.to_owned())
            .or_default()
            .push(reply);
        drop(state);
        self
    }

    /// Forgets what a path was told to answer.
    pub fn forget(&self, path: &str) {
        lock(&self.state).replies.remove(path);
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// The paths that were asked for so far.
    pub fn paths(&self) -> Vec<String> {
        let asked = self.asked().into_iter();
        asked.map(|request| request.path).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let asked = Asked { path, headers };
    let reply = {
        let mut state = lock(state);
        state.asked.push(asked.clone());
        state.reply(&asked.path)
    };
    std::thread::sleep(reply.delay);
    send(&mut stream, &reply, &asked)
}

impl State {
    fn reply(&mut self, path: &str) -> Reply {
        match self.replies.get_mut(path) {
            Some(list) if list.len() > 1 => return list.remove(0),
            Some(list) => return list.first().cloned().unwrap_or(Reply::status(404)),
            None => {}
        }
        let path = path.trim_start_matches('/');
        let file = self.folder.as_ref().map(|folder| folder.join(path));
        match file.map(std::fs::read) {
            Some(Ok(bytes)) => {
                // FNV-1a: enough to tell the versions of a test's file apart.
                let tag = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                });
                Reply::ok(bytes).etag(&format!("{tag:x}"))
            }
            _ => Reply::status(404),
        }
    }
}

fn send(stream: &mut impl Write, reply: &Reply, asked: &Asked) -> io::Result<()> {
    let header = |name: &str| asked.headers.get(name).map(String::as_str);
    if reply.user.is_some() && reply.user.as_deref() != header("authorization") {
        return stream.write_all(
            b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    let mut head = Vec::new();
    let mut body = reply.body.as_slice();
    let mut status = reply.status;
    let unchanged = reply.etag.is_some() && header("if-none-match") == reply.etag.as_deref();
    let part = header("range")
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .filter(|_| reply.ranges && status == 200)
        .filter(|_| header("if-range").is_none_or(|tag| Some(tag) == reply.etag.as_deref()));
    if unchanged {
        (status, body) = (304, &[]);
    } else if let Some(from) = part {
        let from: usize = from;
        let total = body.len();
        match body.get(from..).filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                (status, body) = (206, rest);
                write!(
                    head,
                    "Content-Range: bytes {from}-{}/{total}\r\n",
                    total - 1
                )?;
            }
            None => {
                (status, body) = (416, &[]);
                write!(head, "Content-Range: bytes */{total}\r\n")?;
            }
        }
    }
    for (name, value) in &reply.headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    if let Some(etag) = &reply.etag {
        write!(head, "ETag: {etag}\r\n")?;
    }
    if !reply.endless && !reply.unsized_body {
        let length = reply.announces.unwrap_or(body.len() as u64);
        write!(head, "Content-Length: {length}\r\n")?;
    }
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\n")?;
    stream.write_all(&head)?;
    stream.write_all(b"\r\n")?;
    stream.flush()?;
    std::thread::sleep(reply.pause);
    if reply.endless {
        loop {
            stream.write_all(&[b'x'; 1 << 16])?;
        }
    }
    let body = match reply.breaks_after {
        Some(count) => body.get(..count).unwrap_or(body),
        None => body,
    };
    stream.write_all(body)?;
    stream.flush()
}
