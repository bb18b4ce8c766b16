//! The one way out of a sandbox whose network is polpo's proxy.
//!
//! Its network namespace has a loopback device and nothing else. `sandbox-init` makes it, opens a
//! listening socket at [`PROXY_ADDRESS`] there, and hands that socket to polpo before it becomes
//! bubblewrap. A socket belongs to the namespace it was made in: polpo, outside, takes the
//! connections that steps make inside. No program of ours runs among theirs, and no file of the
//! host's is seen by them.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::link::raise_loopback;

/// Where the proxy is found inside: no port that programs choose at random.
pub const PROXY_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 61_080);

/// The name of the socket that takes the listening socket, in the folder of a start.
pub(super) const HAND_OVER: &str = "network";

/// What a sandbox has of the network.
#[derive(Clone, Copy, Debug, Default)]
pub enum Connection<'a> {
    /// A loopback device of its own.
    #[default]
    None,
    /// All that the host has.
    Host,
    /// A loopback device of its own, and on it this.
    Gateway(&'a dyn Gateway),
}

impl Connection<'_> {
    pub(super) fn is_gateway(&self) -> bool {
        matches!(self, Connection::Gateway(_))
    }
}

/// What answers at [`PROXY_ADDRESS`].
pub trait Gateway: fmt::Debug + Sync {
    /// Takes the connections that `listener` gets, without waiting for any; the sandbox's programs
    /// start after this has returned.
    fn serve(&self, listener: TcpListener);
}

/// Inside: leaves the network namespace for a new one, and hands a listening socket in it to whoever
/// waits in `folder`.
pub(super) fn open(folder: &Path, unshare: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    unshare()?;
    raise_loopback()?;
    hand_over(folder)
}

/// Inside, where the loopback device is up: hands a listening socket to whoever waits in `folder`.
pub(super) fn hand_over(folder: &Path) -> io::Result<()> {
    let listener = TcpListener::bind(PROXY_ADDRESS)?;
    // A socket's path may be no longer than 107 bytes, and the folder's may.
    std::env::set_current_dir(folder)?;
    let stream = UnixStream::connect(HAND_OVER)?;
    std::env::set_current_dir("/")?;
    send(&stream, listener.as_fd())
}

/// Outside: the socket that takes what [`open`] hands over.
pub(super) fn await_listener(folder: &Path) -> io::Result<UnixListener> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let socket = UnixListener::bind(format!("/proc/self/fd/{number}/{HAND_OVER}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Outside: the listening socket, once `socket` is readable.
pub(super) fn receive(socket: &UnixListener) -> io::Result<TcpListener> {
    let (stream, _) = socket.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&stream, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    let socket: OwnedFd = received.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(TcpListener::from(socket))
}

fn send(stream: &UnixStream, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let byte = [IoSlice::new(&[0])];
    rustix::net::sendmsg(stream, &byte, &mut control, SendFlags::empty())?;
    Ok(())
}
