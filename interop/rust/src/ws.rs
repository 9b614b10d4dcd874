//! The WebSocket libraries.

use futures_util::StreamExt as _;

use crate::{End, message, opened, protocols};

pub async fn tokio_tungstenite(url: &str, token: &str) -> Result<(), End> {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    let mut request = url.into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols(token).parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    opened();
    while let Some(received) = socket.next().await {
        if let Message::Text(text) = received? {
            message(&text, None);
        }
    }
    Ok(())
}

#[cfg(feature = "all")]
pub async fn tokio_websockets(url: &str, token: &str) -> Result<(), End> {
    let builder = tokio_websockets::ClientBuilder::new().uri(url)?;
    let builder = builder.add_header("sec-websocket-protocol".parse()?, protocols(token).parse()?)?;
    let (mut socket, _) = builder.connect().await?;
    opened();
    while let Some(received) = socket.next().await {
        if let Some(text) = received?.as_text() {
            message(text, None);
        }
    }
    Ok(())
}

#[cfg(feature = "all")]
pub async fn fastwebsockets(url: &str, token: &str) -> Result<(), End> {
    use fastwebsockets::{FragmentCollector, OpCode, handshake};
    use http_body_util::Empty;
    use hyper::Request;
    use hyper::body::Bytes;

    struct OnTokio;

    impl<F> hyper::rt::Executor<F> for OnTokio
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        fn execute(&self, future: F) {
            tokio::spawn(future);
        }
    }

    let host = url.trim_start_matches("ws://").split('/').next().expect("a host");
    let stream = tokio::net::TcpStream::connect(host).await?;
    let request = Request::get(url)
        .header("Host", host)
        .header("Upgrade", "websocket")
        .header("Connection", "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Protocol", protocols(token))
        .body(Empty::<Bytes>::new())?;
    let (socket, _) = handshake::client(&OnTokio, request, stream).await?;
    let mut socket = FragmentCollector::new(socket);
    opened();
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text => message(std::str::from_utf8(&frame.payload)?, None),
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}
