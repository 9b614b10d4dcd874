//! Non-blocking TCP sockets on loopback addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// What one read brought.
pub(crate) enum Read {
    /// So many bytes, at the start of the buffer.
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// The other side has closed, or reset, the connection.
    End,
}

/// Starts to connect. `source` is the local address (127.0.0.x), for more connections than one address has ports.
pub(crate) fn connect(to: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    if let Some(source) = source {
        rustix::net::bind(&fd, &SocketAddrV4::new(source, 0))?;
    }
    match rustix::net::connect(&fd, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// A listening socket on a free port of 127.0.0.1.
pub(crate) fn listen(port: u16) -> io::Result<(OwnedFd, SocketAddr)> {
    let fd = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    rustix::net::bind(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    rustix::net::listen(&fd, 4096)?;
    let address = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
    Ok((fd, address))
}

/// Accepts one connection, or `None` when there is none.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(fd) => {
            sockopt::set_tcp_nodelay(&fd, true)?;
            Ok(Some(fd))
        }
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a connection attempt that epoll reported has succeeded.
pub(crate) fn connected(fd: &OwnedFd) -> io::Result<()> {
    Ok(sockopt::socket_error(fd)??)
}

/// Reads once.
pub(crate) fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Read {
    match rustix::net::recv(fd, buffer, RecvFlags::empty()) {
        Ok((_, 0)) => Read::End,
        Ok((_, count)) => Read::Bytes(count),
        Err(Errno::AGAIN | Errno::INTR) => Read::Empty,
        Err(_) => Read::End,
    }
}

/// Writes what fits and answers how much; `None` when the connection is gone.
pub(crate) fn write(fd: &OwnedFd, bytes: &[u8]) -> Option<usize> {
    match rustix::net::send(fd, bytes, SendFlags::NOSIGNAL) {
        Ok(count) => Some(count),
        Err(Errno::AGAIN | Errno::INTR) => Some(0),
        Err(_) => None,
    }
}

/// Ends a connection as a cut cable with a reset would: nothing is flushed and no port is left waiting.
pub(crate) fn cut(fd: OwnedFd) {
    // A socket that is already gone needs no linger option; the close that follows is what matters.
    let _ = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    drop(fd);
}
