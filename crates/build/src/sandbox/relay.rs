//! How a virtual machine reaches what its network is.
//!
//! QEMU translates what the machine's one interface sends into connections of its own process. With
//! `--network allow` that interface is the steps', and QEMU has the host's network. Recorded and
//! replayed networks are the proxy that listens at [`PROXY_ADDRESS`] of QEMU's namespace, which has
//! nothing else; in the machine, steps have a namespace with a loopback device, and what connects to
//! [`PROXY_ADDRESS`] there is passed on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::gateway::PROXY_ADDRESS;
use super::link::{Link, raise_loopback};
use super::{Connection, enter};

/// The machine's address, and how many of its bits are QEMU's network (qemu(1), `-netdev user`).
const OWN: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 15), 24);

/// Stands for the loopback device of QEMU's namespace, and for the way to everywhere else.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Asks the name server of the host.
pub(super) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// So many connections are passed on at once; others wait.
const CONNECTIONS: usize = 128;

/// How long the interface may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a machine has of the network, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MachineNetwork {
    /// No interface.
    None,
    /// An interface that is the steps' own.
    All,
    /// One that leads to a proxy and is not seen by steps.
    Proxy,
}

impl MachineNetwork {
    const NAMES: [(MachineNetwork, &'static str); 3] = [
        (MachineNetwork::None, "none"),
        (MachineNetwork::All, "all"),
        (MachineNetwork::Proxy, "proxy"),
    ];

    pub(super) fn of(connection: Connection<'_>) -> MachineNetwork {
        match connection {
            Connection::None => MachineNetwork::None,
            Connection::Host => MachineNetwork::All,
            Connection::Gateway(_) => MachineNetwork::Proxy,
        }
    }

    pub(super) fn name(self) -> &'static str {
        let mut names = MachineNetwork::NAMES.iter();
        names
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    pub(super) fn named(name: &str) -> Option<MachineNetwork> {
        let mut names = MachineNetwork::NAMES.iter();
        names
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    /// In the machine: sets it up for this process and those that it starts. It has one thread until
    /// then.
    pub(super) fn set_up(self) -> io::Result<()> {
        match self {
            MachineNetwork::None => raise_loopback(),
            MachineNetwork::All => {
                raise_loopback()?;
                raise_interface()?.route_all(HOST)
            }
            MachineNetwork::Proxy => {
                raise_interface()?;
                let outer = File::open("/proc/self/ns/net")?;
                enter::unshare(UnshareFlags::NEWNET)?;
                raise_loopback()?;
                let listener = TcpListener::bind(PROXY_ADDRESS)?;
                pass_on(listener, &outer)
            }
        }
    }
}

/// Gives the machine's interface its address, once it is there.
fn raise_interface() -> io::Result<Link> {
    let start = Instant::now();
    let link = loop {
        match Link::named("eth0") {
            Ok(link) => break link,
            Err(_) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(2)),
            Err(error) => {
                let message = format!("there is no network interface: {error}");
                return Err(io::Error::new(error.kind(), message));
            }
        }
    };
    link.raise()?;
    link.give_address(OWN.0, OWN.1)?;
    Ok(link)
}

/// Passes on what connects to `listener`, by threads of this process that are in the namespace
/// `outer`: steps can't end those.
fn pass_on(listener: TcpListener, outer: &File) -> io::Result<()> {
    let listener = Arc::new(listener);
    for _ in 0..CONNECTIONS {
        let (listener, outer) = (Arc::clone(&listener), outer.try_clone()?);
        let serve = move || {
            let network = Some(LinkNameSpaceType::Network);
            if rustix::thread::move_into_link_name_space(outer.as_fd(), network).is_err() {
                return;
            }
            loop {
                let Ok((inside, _)) = listener.accept() else {
                    // No descriptors are left, which passes.
                    thread::sleep(Duration::from_millis(10));
                    continue;
                };
                // Whoever connected sees that it is closed.
                let _ = relay(&inside);
            }
        };
        thread::Builder::new()
            .name("relay".to_owned())
            .stack_size(128 << 10)
            .spawn(serve)?;
    }
    Ok(())
}

/// Copies both ways until both are at their end.
fn relay(inside: &TcpStream) -> io::Result<()> {
    let outside = TcpStream::connect(SocketAddrV4::new(HOST, PROXY_ADDRESS.port()))?;
    thread::scope(|scope| {
        let back = thread::Builder::new()
            .stack_size(128 << 10)
            .spawn_scoped(scope, || copy(&outside, inside));
        if back.is_ok() {
            copy(inside, &outside);
        }
    });
    Ok(())
}

/// Copies until `from` is at its end, and says so to `to`. Where one of them is broken, both are ended.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = [0; 32 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break drop(to.shutdown(Shutdown::Write)),
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                let _ = from.shutdown(Shutdown::Both);
                break drop(to.shutdown(Shutdown::Both));
            }
        }
    }
}
