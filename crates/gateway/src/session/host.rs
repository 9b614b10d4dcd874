//! The gateway's side of one session: the answers to what the transport asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use events::{BoxFuture, Cursor, Reset, ResetReason, Topic};
use parking_lot::Mutex;
use transport::{
    Access, ByeReason, CloseCode, Host, Identity, Outcome, Refused, Sent, Transport, UnsentBytes,
};

use crate::app::App;
use crate::metrics::Live;
use crate::registry::Connection;
use crate::registry::Registration;
use crate::session::commands::{self, Sender};
use crate::session::socketio_event;

/// The host of one session, for as long as its connection lives.
pub(crate) struct SessionHost {
    transport: Transport,
    app: Arc<App>,
    /// Dropped with the session, it gives up the place in the table.
    registration: Registration,
    /// The largest message that it was sent, in bytes.
    largest: AtomicU32,
    /// Commands refused by the rate limit since the last that was not.
    refusals: Mutex<u32>,
    /// Whether its commands are events of Socket.IO.
    speaks_socketio: bool,
}

impl SessionHost {
    /// The host of a session with this place in the table.
    #[must_use]
    pub(crate) fn new(
        app: &Arc<App>,
        transport: Transport,
        registration: Registration,
        speaks_socketio: bool,
    ) -> Arc<Self> {
        let app = Arc::clone(app);
        let (largest, refusals) = (AtomicU32::new(0), Mutex::default());
        Arc::new(Self { transport, app, registration, largest, refusals, speaks_socketio })
    }
}

impl Host for SessionHost {
    fn identity(&self) -> Identity<'_> {
        let Connection { user, id, .. } = &*self.registration.connection;
        Identity { session: id.as_deref().unwrap_or_default(), user, deployment: &self.app.deployment }
    }

    fn access(&self) -> Access {
        let connection = &self.registration.connection;
        let held = connection.held.lock();
        Access {
            topics: held.subscriptions.topics().to_vec(),
            added: held.subscriptions.added(),
            lens: self.app.lens(&held.grant),
            expiry: held.grant.ends_at_instant(self.app.log.clock()),
            expiring_before: connection.expiring_before(),
        }
    }

    fn take_refused(&self) -> Vec<Refused> {
        self.registration.connection.held.lock().subscriptions.take_refused()
    }

    fn expires_at(&self) -> String {
        self.registration.connection.expires_at()
    }

    fn unsent(&self) -> &Arc<UnsentBytes> {
        &self.app.unsent
    }

    fn expiring(&self) -> String {
        self.registration.connection.told_expiring();
        self.expires_at()
    }

    fn command(self: Arc<Self>, text: String) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let Self { app, registration: Registration { connection, .. }, refusals, .. } = &*self;
            let may_change_topics = connection.transport == Some(Transport::Ws);
            let sender = Sender { app, connection, refusals, may_change_topics };
            if self.speaks_socketio {
                socketio_event::run(&sender, &text).await
            } else {
                sender.run(&text).await
            }
        })
    }

    fn not_a_command(&self) -> Vec<u8> {
        commands::not_a_command()
    }

    fn refetch_after(&self, reason: ResetReason) -> Duration {
        self.app.pacing.refetch_after(reason)
    }

    fn reconnect_after(&self, _reason: ByeReason) -> Duration {
        self.app.pacing.soon()
    }

    fn retry_after(&self) -> Duration {
        self.app.pacing.retry()
    }

    fn client_closed(&self, code: CloseCode) {
        self.app.metrics.client_closed(code.into());
        let connection = &self.registration.connection;
        // Its messages are small from now on, so only one line is logged until the session is forgotten.
        if code == CloseCode::TOO_LARGE && connection.handle.client_close() != Some(code) {
            tracing::warn!(
                user = %connection.user,
                message_bytes = self.largest.load(Ordering::Relaxed),
                "a client closed with 1009: a message is larger than its library takes; its next connections get at \
                 most 8 KiB in one (`batch=` asks for that)"
            );
        }
    }

    fn sent(&self, sent: Sent) {
        self.largest.fetch_max(u32::try_from(sent.bytes).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.registration.connection.sent_up_to(sent.cursor.seq);
        let live = sent.latency_us.map(|us| Live { latency: Duration::from_micros(us), lag: sent.lag });
        self.app.metrics.sent(self.transport, sent.events as u64, sent.bytes as u64, live);
    }

    fn reset(&self, reset: &Reset) {
        if reset.reason != ResetReason::Expired {
            self.registration.connection.restarted(reset.at.seq);
        }
        self.app.metrics.reset(reset.reason.into());
    }

    fn subscribed(&self, topics: &[Topic], at: Cursor) {
        self.registration.connection.held.lock().subscriptions.take_up(topics, at.seq);
    }
}
