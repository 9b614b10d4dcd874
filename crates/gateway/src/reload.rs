//! Another configuration for a gateway that runs: read again, checked as a whole, and put in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::app::App;
use crate::config::ConfigError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What became of a configuration that was read again.
pub(crate) struct Reloaded {
    /// The options that differ and change at the next start, by name; or every problem. With a
    /// problem, nothing has changed.
    pub outcome: Result<Vec<&'static str>, Vec<ConfigError>>,
    /// The files that it names, if it could be read.
    files: Option<Vec<PathBuf>>,
}

/// Reads the configuration again and puts it in force.
pub(crate) async fn reload(app: &App) -> Reloaded {
    let _turn = app.reader.turn.lock().await;
    let reloaded = take_over(app).await;
    app.metrics.set_config_in_force(reloaded.outcome.is_ok());
    match &reloaded.outcome {
        Ok(waiting) if waiting.is_empty() => {
            tracing::info!("the configuration was read again and is in force");
        }
        Ok(waiting) => tracing::warn!(
            waiting = waiting.join(", "),
            "the configuration was read again; what waits changes at the next start"
        ),
        Err(errors) => {
            for error in errors {
                tracing::error!("the configuration was read again, and nothing has changed: {error}");
            }
        }
    }
    reloaded
}

async fn take_over(app: &App) -> Reloaded {
    let config = match app.reader.read().await {
        Ok(config) => config,
        Err(errors) => return Reloaded { outcome: Err(errors), files: None },
    };
    let outcome = app.take_over(&config).and_then(|waiting| {
        // The filter was checked with the rest.
        app.reader.set_filter(&config.logs.filter)?;
        Ok(waiting)
    });
    Reloaded { outcome: outcome.map_err(|error| vec![error]), files: Some(config.files()) }
}

/// The files of a configuration, as they were before it was read.
pub(crate) struct Watched {
    files: Vec<PathBuf>,
    stamps: Vec<Stamp>,
}

/// When a file was changed, and its size. `None`: it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Watched {
    /// Looks at these files, which are read after that.
    pub(crate) async fn look(files: Vec<PathBuf>) -> Self {
        let looked_at = files.clone();
        let stamp = |file: &PathBuf| {
            let file = std::fs::metadata(file).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        let stamps = tokio::task::spawn_blocking(move || looked_at.iter().map(stamp).collect()).await;
        Self { files, stamps: stamps.unwrap_or_default() }
    }
}

/// Reloads whenever the operator asks for it or a file of the configuration has changed, for ever.
pub(crate) async fn watch(app: Arc<App>, mut watched: Watched) {
    let mut asked = app.reader.asked.lock().await;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(()) = asked.recv() => watched = Watched::look(watched.files).await,
            _ = ticks.tick() => {
                let now = Watched::look(watched.files).await;
                let has_changed = now.stamps != watched.stamps;
                watched = now;
                if !has_changed {
                    continue;
                }
            }
        }
        // What is wrong stands in the log. Other files are looked at, and then read once more.
        while let Some(files) = reload(&app).await.files.filter(|files| *files != watched.files) {
            watched = Watched::look(files).await;
        }
    }
}
