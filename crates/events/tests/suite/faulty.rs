//! A store that does what the real ones do on a bad day, when a test asks for it.

use std::sync::Arc;
use std::time::Duration;

use events::{
    AppendResults, Appended, BoxFuture, Checkpoint, Cursor, Draft, Epoch, Fact, Lacking, Log, Rejection, Seq,
    SourceName, Store, Topic, Unavailable,
};
use parking_lot::Mutex;

use super::draft;

/// What can happen to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused, and nothing is appended.
    Refuse,
    /// It takes a while.
    Delay(Duration),
    /// It is appended, and the answer is lost.
    LoseAnswers,
    /// It is appended and answered, and then so many of the last events turn out never to have happened.
    Fork { back: u64 },
    /// It is appended and answered, and then everything up to it is in doubt.
    Trim,
}

/// Wraps a store that numbers by itself, and never reuses a number.
pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    log: Arc<Log>,
    faults: Mutex<Faults>,
    /// One append at a time, so that a fork cuts between two.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Faults {
    next: Vec<Fault>,
    epochs: u64,
    /// What the current epoch has, for the notice of what a fork loses.
    topics: Vec<(Seq, Vec<Topic>)>,
}

impl Faulty {
    pub(crate) fn new(log: Arc<Log>, inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, log, faults: Mutex::default(), turn: tokio::sync::Mutex::default() })
    }

    /// The next append meets this.
    pub(crate) fn inject(&self, fault: Fault) {
        self.faults.lock().next.push(fault);
    }

    /// What was to be met is met no more.
    pub(crate) fn behave(&self) {
        self.faults.lock().next.clear();
    }

    async fn append_in_turn(&self, drafts: Vec<Draft>) -> Vec<Result<Appended, Rejection>> {
        let _turn = self.turn.lock().await;
        let fault = self.faults.lock().next.pop();
        let number = drafts.len();
        match fault {
            Some(Fault::Refuse) => return vec![Err(Unavailable("refused").into()); number],
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        let topics: Vec<Vec<Topic>> = drafts.iter().map(|draft| draft.topics.as_slice().to_vec()).collect();
        let answers = self.inner.append(drafts).await;
        for (topics, answer) in topics.into_iter().zip(&answers) {
            if let Some(seq) = answer.ok().filter(|appended| !appended.duplicate).and_then(|fresh| fresh.seq)
            {
                self.faults.lock().topics.push((seq, topics));
            }
        }
        match fault {
            Some(Fault::LoseAnswers) => return vec![Err(Unavailable("no answer").into()); number],
            Some(Fault::Fork { back }) => self.fork(back).await,
            Some(Fault::Trim) => self.log.apply(Fact::Trimmed { through: self.log.tail() }),
            _ => {}
        }
        answers
    }

    /// As after a failover to a replica that was behind: the last events are gone, and their topics are named.
    async fn fork(&self, back: u64) {
        let tail = self.log.tail();
        let end = Seq::new(tail.number().saturating_sub(back)).unwrap_or_default();
        let (epoch, lost) = {
            let mut faults = self.faults.lock();
            faults.epochs += 1;
            let at = faults.topics.partition_point(|(seq, _)| *seq <= end);
            let lost: Vec<Topic> = faults.topics.drain(at..).flat_map(|(_, topics)| topics).collect();
            (Epoch::new(faults.epochs), lost)
        };
        // The notice takes a seq of its own, so that it is above all that anyone has passed.
        let notice = self.inner.append(vec![draft(&["notice"], 0)]).await;
        let through = notice[0].ok().and_then(|appended| appended.seq).unwrap_or(tail);
        self.log.apply(Fact::Epoch { epoch, end: Some(end), start: tail });
        // Should the next fork take the notice along, what it told of is owed again.
        self.faults.lock().topics.push((through, lost.clone()));
        self.log.apply(Fact::Lost { topics: lost, through });
    }
}

impl Store for Faulty {
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Vec<Result<Appended, Rejection>>> {
        Box::pin(self.append_in_turn(drafts))
    }

    fn append_and_checkpoint(
        &self,
        drafts: Vec<Draft>,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'_, Result<AppendResults, Unavailable>> {
        self.inner.append_and_checkpoint(drafts, checkpoint)
    }

    fn checkpoint(&self, source: &SourceName) -> BoxFuture<'_, Result<Option<Box<[u8]>>, Unavailable>> {
        self.inner.checkpoint(source)
    }

    fn tell_lacking(&self, lacking: Lacking) -> BoxFuture<'_, Result<(), Unavailable>> {
        self.inner.tell_lacking(lacking)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>> {
        self.inner.tail()
    }

    fn ready(&self) -> Result<(), Unavailable> {
        self.inner.ready()
    }
}
