//! A WebSocket that sends back what it gets, on the frame code of the gateway.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use transport::write_ws_text;
use transport::ws::{Decoder, Step};

/// The longest message, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Echoes until either side closes. The handshake is over, and `received` came behind it.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn echo<S>(mut socket: S, received: &[u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::new(MESSAGE_BYTES_MAX);
    decoder.feed(received);
    let (mut out, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let is_over = loop {
            match decoder.step(&mut out) {
                Step::Incomplete => break false,
                Step::Closed(_) | Step::Violated(_) => break true,
                Step::Control => {}
                Step::Text(text) => write_ws_text(text.as_bytes(), &mut out),
                Step::Binary(bytes) => {
                    // The gateway itself sends no binary message; the frames differ in their opcode
                    // alone.
                    let at = out.len();
                    write_ws_text(&bytes, &mut out);
                    out[at] = 0x82;
                }
            }
        };
        socket.write_all(&out).await?;
        out.clear();
        if is_over {
            socket.shutdown().await?;
            // What the client had on its way is read, so that the close frame is not lost to a TCP
            // reset.
            let rest = async { while socket.read(&mut buffer).await.is_ok_and(|len| len > 0) {} };
            let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
            return Ok(());
        }
        let len = socket.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        decoder.feed(&buffer[..len]);
    }
}
