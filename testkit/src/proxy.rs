use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A server between a client and a real one that lets things go wrong as it is told. Each connection
/// is one request.
#[derive(Debug)]
pub struct FaultProxy {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

/// A request that came, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path with the query.
    pub path: String,
    /// The head, its names as they came.
    pub head: String,
    /// How many bytes of its body went through.
    pub sent: u64,
    /// The fault that it met.
    pub fault: Option<Fault>,
}

#[derive(Clone, Debug)]
struct Rule {
    method: String,
    path: String,
    left: usize,
    fault: Fault,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends without an answer; the server is never asked.
    Drop,
    /// The connection ends after so many bytes of the request's body.
    DropAfter(u64),
    /// The server gets no more than so many bytes of the request's body, and takes them for all.
    TakeOnly(u64),
    /// The server does what is asked, and its answer is lost.
    LoseAnswer,
    /// The answer is this status, with a header.
    Status(u16, &'static str),
    /// The answer ends after so many bytes of its body.
    Truncate(usize),
    /// The body of the answer comes byte by byte, with such pauses.
    Drip(Duration),
    /// A byte in the middle of the answer's body is another.
    Corrupt,
    /// A header of the answer has this value.
    Header(&'static str, String),
    /// Nothing is wrong with it but a pause before.
    Late(Duration),
}

impl FaultProxy {
    /// Starts one before the server at `address`.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn before(address: &str) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, upstream) = (Arc::clone(&state), address.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, upstream) = (Arc::clone(&shared), upstream.clone());
                std::thread::spawn(move || {
                    // Connections that end are what this is about.
                    let _ = serve(&stream, &upstream, &state);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        FaultProxy {
            address: own,
            state,
        }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The full name of something in the registry behind it.
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Lets the next `count` requests of this method, whose path contains `path`, meet a fault.
    pub fn on(&self, method: &str, path: &str, count: usize, fault: Fault) -> &FaultProxy {
        lock(&self.state).rules.push(Rule {
            method: method.to_owned(),
            path: path.to_owned(),
            left: count,
            fault,
        });
        self
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        lock(&self.state).rules.clear();
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        lock(&self.state).seen.clear();
    }

    /// How many requests of this method came whose path contains `path`.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let seen = self.seen();
        let fitting = seen
            .iter()
            .filter(|seen| seen.method == method && seen.path.contains(path));
        fitting.count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a record of TLS begins with when a client greets.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads up to the empty line; what came after it is given too.
fn head(mut stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Who tries TLS first is told at once that there is none.
        if bytes.is_empty() && buffer.first() == Some(&TLS_HANDSHAKE) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// A head with `Connection: close`, and another header set.
fn changed(head: &str, set: Option<(&str, &str)>) -> String {
    let mut text = String::new();
    for line in head.trim_end().split("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        let replaced = set.is_some_and(|(set, _)| name.eq_ignore_ascii_case(set));
        if !replaced && !name.eq_ignore_ascii_case("connection") {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    if let Some((name, value)) = set {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "Connection: close\r\n\r\n"
}

fn length(head: &str) -> u64 {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn serve(mut client: &TcpStream, upstream: &str, state: &Mutex<State>) -> io::Result<()> {
    let (request, early) = head(client)?;
    let mut words = request.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let (fault, place) = {
        let mut state = lock(state);
        let rule = state
            .rules
            .iter_mut()
            .find(|rule| rule.left > 0 && rule.method == method && path.contains(&rule.path));
        let fault = rule.map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        state.seen.push(Seen {
            method,
            path,
            head: request.clone(),
            sent: 0,
            fault: fault.clone(),
        });
        (fault, state.seen.len() - 1)
    };
    match &fault {
        Some(Fault::Drop) => return Ok(()),
        Some(Fault::Status(status, header)) => {
            // Who answers early and closes may lose the answer: what comes is read first.
            io::copy(
                &mut client.take(length(&request).saturating_sub(early.len() as u64)),
                &mut io::sink(),
            )?;
            let header = match header.is_empty() {
                true => String::new(),
                false => format!("{header}\r\n"),
            };
            return write!(
                client,
                "HTTP/1.1 {status} X\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Some(Fault::Late(pause)) => std::thread::sleep(*pause),
        _ => {}
    }
    let mut server = TcpStream::connect(upstream)?;
    let shorter = match fault {
        Some(Fault::TakeOnly(bytes)) => Some(bytes.min(length(&request)).to_string()),
        _ => None,
    };
    let set = shorter.as_deref().map(|length| ("Content-Length", length));
    server.write_all(changed(&request, set).as_bytes())?;
    let total = match fault {
        Some(Fault::DropAfter(bytes) | Fault::TakeOnly(bytes)) => bytes.min(length(&request)),
        _ => length(&request),
    };
    let early = early.get(
        ..usize::try_from(total)
            .unwrap_or(usize::MAX)
            .min(early.len()),
    );
    let early = early.unwrap_or_default();
    server.write_all(early)?;
    let rest = total - early.len() as u64;
    let sent = early.len() as u64 + io::copy(&mut client.take(rest), &mut server)?;
    if let Some(seen) = lock(state).seen.get_mut(place) {
        seen.sent = sent;
    }
    if let Some(Fault::DropAfter(_)) = fault {
        server.shutdown(Shutdown::Write)?;
        // The server shall notice before somebody asks it how far it is.
        io::copy(&mut server, &mut io::sink())?;
        return Ok(());
    }
    if let Some(Fault::TakeOnly(_)) = fault {
        let rest = length(&request) - total;
        io::copy(&mut client.take(rest), &mut io::sink())?;
    }
    let (answer, early) = head(&server)?;
    let set = match &fault {
        Some(Fault::Header(name, value)) => Some((*name, value.as_str())),
        _ => None,
    };
    let mut body = early;
    match fault {
        Some(Fault::LoseAnswer) => io::copy(&mut server, &mut io::sink()).map(drop),
        Some(Fault::Truncate(bytes)) => {
            server.take(bytes as u64).read_to_end(&mut body)?;
            body.truncate(bytes);
            client.write_all(changed(&answer, set).as_bytes())?;
            client.write_all(&body)
        }
        Some(Fault::Drip(pause)) => {
            server.read_to_end(&mut body)?;
            client.write_all(changed(&answer, set).as_bytes())?;
            for byte in body {
                client.write_all(&[byte])?;
                std::thread::sleep(pause);
            }
            Ok(())
        }
        Some(Fault::Corrupt) => {
            server.read_to_end(&mut body)?;
            let middle = body.len() / 2;
            if let Some(byte) = body.get_mut(middle) {
                *byte ^= 1;
            }
            client.write_all(changed(&answer, set).as_bytes())?;
            client.write_all(&body)
        }
        _ => {
            client.write_all(changed(&answer, set).as_bytes())?;
            client.write_all(&body)?;
            io::copy(&mut server, &mut client).map(drop)
        }
    }
}
