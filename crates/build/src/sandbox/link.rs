//! Devices of a network namespace, set up by messages to the kernel (rtnetlink(7)).

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// An interface by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(u32);

/// The first interface is always the loopback device.
const LOOPBACK: Link = Link(1);

/// IPv4, in the kernel's numbers.
const INET: u8 = 2;

/// Sets the loopback device up.
pub(super) fn raise_loopback() -> io::Result<()> {
    LOOPBACK.raise()
}

impl Link {
    /// The interface called `name`, if there is one.
    pub(super) fn named(name: &str) -> io::Result<Link> {
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Link(rustix::net::netdevice::name_to_index(&socket, name)?))
    }

    /// Sets it up.
    pub(super) fn raise(self) -> io::Result<()> {
        const RTM_NEWLINK: u16 = 16;
        const IFF_UP: u32 = 1;
        let mut body = vec![0; 4]; // family, padding, device type
        body.extend(self.0.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes()); // which flags are changed
        ask(RTM_NEWLINK, 0, &body)
    }

    /// Gives it an address in a network whose first `prefix` bits are all its members'.
    pub(super) fn give_address(self, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        const RTM_NEWADDR: u16 = 20;
        const IFA_ADDRESS: u16 = 1;
        const IFA_LOCAL: u16 = 2;
        let mut body = vec![INET, prefix, 0, 0]; // flags, scope
        body.extend(self.0.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, &address.octets());
        attribute(&mut body, IFA_ADDRESS, &address.octets());
        ask(RTM_NEWADDR, CREATE, &body)
    }

    /// Makes it lead everywhere else, by `gateway`.
    pub(super) fn route_all(self, gateway: Ipv4Addr) -> io::Result<()> {
        const RTM_NEWROUTE: u16 = 24;
        const TABLE_MAIN: u8 = 254;
        const PROTOCOL_BOOT: u8 = 3;
        const UNICAST: u8 = 1;
        const RTA_OIF: u16 = 4;
        const RTA_GATEWAY: u16 = 5;
        // Lengths of the target's and the source's prefix, type of service; scope.
        let mut body = vec![INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 0, UNICAST];
        body.extend([0; 4]); // flags
        attribute(&mut body, RTA_GATEWAY, &gateway.octets());
        attribute(&mut body, RTA_OIF, &self.0.to_ne_bytes());
        ask(RTM_NEWROUTE, CREATE, &body)
    }
}

/// Adds an attribute whose value is four bytes, as they all are here.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// What is asked for is new.
const CREATE: u16 = 0x400;

/// Sends one message, and waits until it is acknowledged.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    const NLMSG_ERROR: u16 = 2;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    let length = u32::try_from(16 + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST_AND_ACKNOWLEDGE | flags).to_ne_bytes());
    message.extend([0; 8]); // sequence number, sender
    message.extend(body);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // NETLINK_ROUTE is protocol 0
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let mut answer = [0; 256];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let field = |at: usize, size: usize| answer.get(..length)?.get(at..at + size);
    let kind = field(4, 2).and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
    let error = field(16, 4).and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
