//! Another configuration for a gateway that runs: read again, checked as a whole, and put in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::app::App;
use crate::config::ConfigError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A configuration that was put in force.
pub(crate) struct Reloaded {
    /// The options that differ and change at the next start, by name.
    pub waiting: Vec<&'static str>,
    /// The files that it was read from.
    files: Vec<PathBuf>,
}

/// Reads the configuration again and puts it in force.
///
/// # Errors
/// Every problem of the configuration. Nothing has changed then.
pub(crate) async fn reload(app: &App) -> Result<Reloaded, Vec<ConfigError>> {
    let _turn = app.reader.turn.lock().await;
    let outcome = take_over(app).await;
    app.metrics.set_config_in_force(outcome.is_ok());
    match &outcome {
        Ok(Reloaded { waiting, .. }) if waiting.is_empty() => {
            tracing::info!("the configuration was read again and is in force");
        }
        Ok(Reloaded { waiting, .. }) => tracing::warn!(
            waiting = waiting.join(", "),
            "the configuration was read again; what waits changes at the next start"
        ),
        Err(errors) => {
            for error in errors {
                tracing::error!("the configuration was read again, and nothing has changed: {error}");
            }
        }
    }
    outcome
}

async fn take_over(app: &App) -> Result<Reloaded, Vec<ConfigError>> {
    let config = app.reader.read().await?;
    let waiting = app.take_over(&config).map_err(|error| vec![error])?;
    // The filter was checked with the rest.
    app.reader.set_filter(&config.logs.filter).map_err(|error| vec![error])?;
    Ok(Reloaded { waiting, files: config.files() })
}

/// Reloads whenever the operator asks for it or a file of the configuration has changed, for ever.
pub(crate) async fn watch(app: Arc<App>) {
    let mut files = app.config.files();
    let mut asked = app.reader.asked.lock().await;
    let mut seen = stamps(&files).await;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(()) = asked.recv() => {}
            _ = ticks.tick(), if !files.is_empty() => {
                let now = stamps(&files).await;
                if now == seen {
                    continue;
                }
                seen = now;
            }
            else => return std::future::pending().await,
        }
        // What is wrong stands in the log.
        if let Ok(Reloaded { files: now, .. }) = reload(&app).await
            && now != files
        {
            files = now;
            seen = stamps(&files).await;
        }
    }
}

/// What tells that a file has changed: when it did, and its size. `None`: it is not there.
async fn stamps(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
    let files = files.to_vec();
    let stamp = |file: &PathBuf| {
        let file = std::fs::metadata(file).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    let stamps = tokio::task::spawn_blocking(move || files.iter().map(stamp).collect()).await;
    stamps.unwrap_or_default()
}
