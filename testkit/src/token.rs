use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::registry::make_certificate;

/// A server that gives out tokens for registries (docker's token authentication), signed by a key
/// that the registry trusts. It knows one user.
#[derive(Debug)]
pub struct TokenServer {
    address: String,
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Desk {
    folder: PathBuf,
    /// The `Authorization` of the one user.
    user: String,
    /// What those get who don't say who they are.
    public: Vec<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    /// Starts one. Who sends `authorization`, such as `Basic dTpw`, gets whatever is asked for,
    /// others may pull from repositories whose name begins with `public`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(authorization: &str) -> TokenServer {
        let folder = tempfile::tempdir().expect("a folder");
        make_certificate(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let desk = Desk {
            folder: folder.path().to_owned(),
            user: authorization.to_owned(),
            public: vec!["public"],
            asked: Arc::clone(&asked),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no concern of the server's.
                let _ = desk.serve(&stream);
            }
        });
        TokenServer {
            address,
            folder,
            asked,
        }
    }

    /// Where tokens are to be had.
    pub fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The certificate of the key that signs tokens.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The scopes that were asked for so far, with `!` before those of nobody in particular.
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Desk {
    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap_or(Ok(String::new()))?;
        let mut known = None;
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("authorization") {
                known = Some(value.trim() == self.user);
            }
        }
        let query = first.split(' ').nth(1).unwrap_or_default();
        let query = query.split_once('?').map_or("", |(_, query)| query);
        let scopes: Vec<String> = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("scope="))
            .map(|scope| {
                scope
                    .replace("%3A", ":")
                    .replace("%2F", "/")
                    .replace("%2C", ",")
            })
            .collect();
        let mark = if known.is_some() { "" } else { "!" };
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{mark}{}", scopes.join(" ")));
        if known == Some(false) {
            return stream
                .write_all(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let access: Vec<String> = scopes
            .iter()
            .filter_map(|scope| self.grant(scope, known.is_some()))
            .collect();
        let body = format!(
            "{{\"token\": \"{}\", \"expires_in\": 300}}",
            self.token(&access.join(","))?
        );
        write!(
            stream,
            "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn grant(&self, scope: &str, known: bool) -> Option<String> {
        let mut parts = scope.splitn(3, ':');
        let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
        let is_public = self.public.iter().any(|prefix| name.starts_with(prefix));
        let actions: Vec<String> = actions
            .split(',')
            .filter(|action| known || (is_public && *action == "pull"))
            .map(|action| format!("\"{action}\""))
            .collect();
        Some(format!(
            "{{\"type\": \"{kind}\", \"name\": \"{name}\", \"actions\": [{}]}}",
            actions.join(",")
        ))
    }

    /// A JSON web token as docker's registry wants it, its certificate in the head.
    fn token(&self, access: &str) -> io::Result<String> {
        let pem = std::fs::read_to_string(self.folder.join("certificate.pem"))?;
        let certificate: String = pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        #[expect(
            clippy::disallowed_methods,
            reason = "the registry looks at its clock to take a token"
        )]
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let head = format!("{{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"{certificate}\"]}}");
        let claims = format!(
            "{{\"iss\":\"tests\",\"sub\":\"tests\",\"aud\":\"tests\",\"exp\":{},\"nbf\":{},\"iat\":{now},\"jti\":\"1\",\"access\":[{access}]}}",
            now + 300,
            now - 60
        );
        let signed = format!(
            "{}.{}",
            url_safe(head.as_bytes()),
            url_safe(claims.as_bytes())
        );
        let signature = sign(&self.folder.join("key.pem"), signed.as_bytes())?;
        Ok(format!("{signed}.{}", url_safe(&signature)))
    }
}

fn sign(key: &Path, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(bytes)?;
    }
    Ok(child.wait_with_output()?.stdout)
}

/// base64url without padding (RFC 4648, 5).
fn url_safe(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let letter = LETTERS[(number >> (18 - 6 * place)) as usize & 63];
            text.push(char::from(letter));
        }
    }
    text
}
