//! The background tasks of a gateway, supervised: one that ends takes the gateway with it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinError, JoinSet};

use crate::config::error::ConfigError;

/// Tasks that run as long as the gateway: listeners, sweeps, sources of events. Dropped, they are ended.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, Cow<'static, str>>,
}

impl Tasks {
    /// Runs a task that never ends. `name` describes it in one or two words.
    pub(crate) fn spawn(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Ready when a task has ended, which is a fault: a gateway that no longer accepts or tidies must not
    /// continue.
    /// Never ready without tasks.
    pub(crate) async fn failed(&mut self) -> ConfigError {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let (id, why) = match ended {
            Ok((id, ())) => (id, "it ended".to_owned()),
            Err(error) => (error.id(), reason(error)),
        };
        let name = self.names.get(&id).map_or("unknown", |name| name);
        ConfigError::new(format!("the background task \"{name}\" has failed: {why}"))
    }
}

fn reason(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named_with_its_reason() {
        let mut tasks = Tasks::default();
        tasks.spawn("sweep", std::future::pending());
        tasks.spawn(format!("source {}", 7), async { panic!("row\nwithout a key") });
        assert_eq!(
            tasks.failed().await.to_string(),
            "the background task \"source 7\" has failed: it panicked: row\\nwithout a key"
        );
    }

    #[tokio::test]
    async fn a_task_that_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("presence", async {});
        let error = tasks.failed().await.to_string();
        assert_eq!(error, "the background task \"presence\" has failed: it ended");
    }

    #[tokio::test]
    async fn tasks_that_run_are_no_failure() {
        let mut tasks = Tasks::default();
        tasks.spawn("sweep", std::future::pending());
        let waited = tokio::time::timeout(std::time::Duration::ZERO, tasks.failed()).await;
        assert!(waited.is_err());
    }
}
