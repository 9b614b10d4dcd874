//! The SSE libraries. Where a loop may go on after an error, it does.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::{End, failed, message, opened};

pub async fn run(driver: &str, url: &str) -> Result<(), End> {
    match driver {
        "reqwest-eventsource" => reqwest_eventsource(url).await,
        "eventsource-client" => eventsource_client(url).await,
        "sseer" => sseer(url).await,
        "sse-client" => sse_client(url.to_owned()).await,
        "eventsource-stream" => eventsource_stream(url).await,
        "reqwest-sse" => reqwest_sse(url).await,
        _ => Err(format!("no driver {driver}").into()),
    }
}

async fn reqwest_eventsource(url: &str) -> Result<(), End> {
    use reqwest_eventsource::{Event, EventSource};

    let mut source = EventSource::get(url);
    while let Some(event) = source.next().await {
        match event {
            Ok(Event::Open) => opened(),
            Ok(Event::Message(event)) => message(&event.data, Some(&event.id)),
            Err(error) => failed(error),
        }
    }
    Ok(())
}

async fn eventsource_client(url: &str) -> Result<(), End> {
    use eventsource_client::{Client as _, ClientBuilder, SSE};
    use launchdarkly_sdk_transport::HyperTransport;

    // The values of the README.
    let connection = HyperTransport::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .build_http()?;
    let client = ClientBuilder::for_url(url)?.build_with_transport(connection);
    let mut stream = client.stream();
    while let Some(event) = stream.next().await {
        match event {
            Ok(SSE::Connected(_)) => opened(),
            Ok(SSE::Event(event)) => message(&event.data, event.id.as_deref()),
            Ok(SSE::Comment(_)) => {}
            Err(error) => failed(error),
        }
    }
    Ok(())
}

async fn sseer(url: &str) -> Result<(), End> {
    use sseer::reqwest::{EventSource, StreamEvent};

    let mut source = EventSource::new(reqwest_13::Client::new().get(url))?;
    while let Some(event) = source.next().await {
        match event {
            Ok(StreamEvent::Open) => opened(),
            Ok(StreamEvent::Event(event)) => message(&event.data, Some(&event.id)),
            Err(error) => failed(error),
        }
    }
    Ok(())
}

async fn sse_client(url: String) -> Result<(), End> {
    let listening = tokio::task::spawn_blocking(move || -> Result<(), String> {
        let source = sse_client::EventSource::new(&url).map_err(|error| error.to_string())?;
        source.on_open(opened);
        source.add_event_listener("error", |error| failed(error.data));
        source.on_message(|event| message(&event.data, None));
        // The library has a thread of its own and no call that waits for its end.
        while source.state() != sse_client::State::Closed {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    });
    Ok(listening.await??)
}

async fn eventsource_stream(url: &str) -> Result<(), End> {
    use eventsource_stream::Eventsource as _;

    let response = reqwest::get(url).await?.error_for_status()?;
    opened();
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.try_next().await.map_err(|error| error.to_string())? {
        message(&event.data, Some(&event.id));
    }
    Ok(())
}

async fn reqwest_sse(url: &str) -> Result<(), End> {
    use reqwest_sse::EventSource as _;

    let mut events = reqwest_13::get(url).await?.events().await.map_err(|error| format!("{error:?}"))?;
    opened();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| format!("{error:?}"))?;
        message(&event.data, event.last_event_id.as_deref());
    }
    Ok(())
}
