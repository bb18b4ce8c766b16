use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Program, TokenServer};

/// Debian's `docker-registry` on a free port of this machine, with a folder of its own.
#[derive(Debug)]
pub struct Registry {
    address: String,
    folder: TempDir,
    child: Child,
}

/// What a registry wants before it serves.
#[derive(Debug, Default)]
pub struct RegistryOptions<'a> {
    /// The one user and password that it takes (`htpasswd`).
    pub user: Option<(&'a str, &'a str)>,
    /// Speak TLS, with a certificate of an authority of its own: [`Registry::certificate`].
    pub tls: bool,
    /// Take only the tokens that this server gives out.
    pub tokens: Option<&'a TokenServer>,
}

impl Registry {
    /// Starts one that serves everybody.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Registry {
        Registry::with(&RegistryOptions::default())
    }

    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(options: &RegistryOptions<'_>) -> Registry {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: {address}\n  secret: tests\n",
            path("data").display()
        );
        if options.tls {
            make_certificate(folder.path());
            make_server_certificate(folder.path());
            config.push_str(&format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                path("server.pem").display(),
                path("server-key.pem").display()
            ));
        }
        if let Some((user, password)) = options.user {
            let line = Program::new("htpasswd")
                .args(["-Bbn", user, password])
                .run()
                .success();
            fs::write(path("htpasswd"), line.stdout).expect("a file");
            config.push_str(&format!(
                "auth:\n  htpasswd: {{realm: tests, path: {}}}\n",
                path("htpasswd").display()
            ));
        }
        if let Some(tokens) = options.tokens {
            config.push_str(&format!(
                "auth:\n  token: {{realm: '{}', service: tests, issuer: tests, rootcertbundle: {}}}\n",
                tokens.realm(),
                tokens.certificate().display()
            ));
        }
        fs::write(path("config.yml"), config).expect("a file");
        // It ends with the test that started it, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(path("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).expect("a file"))
            .spawn()
            .expect("docker-registry; scripts/install test brings it");
        let registry = Registry {
            address,
            folder,
            child,
        };
        for _ in 0..200 {
            if TcpStream::connect(&registry.address).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(registry.folder.path().join("log")).unwrap_or_default();
        panic!("docker-registry does not listen: {log}");
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The full name of something in it.
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// The certificate of the authority that vouches for it, if it speaks TLS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The folder in which it keeps what it is given.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes `key.pem` and `certificate.pem` in a folder: an authority.
pub(crate) fn make_certificate(folder: &Path) {
    Program::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=tests", "-keyout"])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("certificate.pem"))
        .run()
        .success();
}

/// Makes `server-key.pem` and `server.pem` for this machine, for which that authority vouches.
fn make_server_certificate(folder: &Path) {
    let names = folder.join("names");
    fs::write(&names, "subjectAltName=IP:127.0.0.1,DNS:localhost\n").expect("a file");
    Program::new("openssl")
        .args([
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=server",
        ])
        .arg("-keyout")
        .arg(folder.join("server-key.pem"))
        .arg("-out")
        .arg(folder.join("request.pem"))
        .run()
        .success();
    Program::new("openssl")
        .args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"])
        .arg(folder.join("request.pem"))
        .arg("-CA")
        .arg(folder.join("certificate.pem"))
        .arg("-CAkey")
        .arg(folder.join("key.pem"))
        .arg("-extfile")
        .arg(&names)
        .arg("-out")
        .arg(folder.join("server.pem"))
        .run()
        .success();
}
