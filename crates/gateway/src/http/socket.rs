//! A connection of a client, with TLS or without.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Bytes that TLS keeps for a client that does not read, beside what its session counts as unsent.
const TLS_UNSENT_BYTES: usize = 16 << 10;
/// Bytes that are read at first, while nothing else is there to take them.
const FIRST_BYTES: usize = 512;

/// A connection of a client.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    /// As it is: a proxy in front, or nothing, speaks TLS.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientSocket {
    /// Does the TLS handshake on an accepted connection.
    ///
    /// # Errors
    /// When the client does not speak TLS, or no version or cipher that both have.
    pub(crate) async fn handshake(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let bounded =
            |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(TLS_UNSENT_BYTES));
        let socket = TlsAcceptor::from(config).accept_with(socket, bounded).await?;
        Ok(Self::Tls(Box::new(socket)))
    }

    /// The address at the other end.
    ///
    /// # Errors
    /// When the client has gone.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.peer_addr(),
            Self::Tls(socket) => socket.get_ref().0.peer_addr(),
        }
    }

    /// Waits for the first byte of a request, and gives what had to be read for that. No buffer is
    /// held while nothing comes. `None`: the client has gone.
    pub(crate) async fn first_bytes(&mut self) -> Option<Bytes> {
        match self {
            Self::Plain(socket) => {
                let peeked = socket.peek(&mut [0]).await;
                (peeked.ok()? > 0).then(Bytes::new)
            }
            Self::Tls(socket) => {
                let read = poll_fn(|cx| {
                    let mut bytes = [0; FIRST_BYTES];
                    let mut buffer = ReadBuf::new(&mut bytes);
                    let read = ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer));
                    Poll::Ready(read.map(|()| Bytes::copy_from_slice(buffer.filled())))
                });
                read.await.ok().filter(|bytes| !bytes.is_empty())
            }
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
