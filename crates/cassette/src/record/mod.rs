//! Records exchanges. The data plane hands them over through a bounded channel; a thread redacts
//! and writes them.

mod tape;
mod transcribe;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use self::tape::{Budget, Exchange};
pub use self::tape::{RequestTap, ResponseTap, Tape};
use self::transcribe::transcribe;
use crate::file::{Appender, CassetteError};
use crate::format::PersonalData;
use crate::redact::{Filter, KnownSecrets, Pseudonyms, Retention};
use crate::text::debug_shows_nothing;
use vbc_base::clock::Clock;
use vbc_base::secret::Secret;

/// How many exchanges may wait for the writer. Their bytes are limited by [`Budget`].
const WAITING: usize = 1024;

/// Options of a recording.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordOptions {
    /// Keep phone numbers, names, e-mail addresses and labels, in places that a table lists.
    pub personal: bool,
    /// Keep bodies, paths and parameters that belong to no operation of the VBC API. The recorder
    /// then replaces only secrets that the process knows, and values whose names call them
    /// credentials or personal data.
    pub unknown: bool,
    /// Record when each piece of a response arrived.
    pub timing: bool,
}

/// A message to the writer.
enum Message {
    /// An exchange that has ended.
    Exchange(Box<Exchange>),
    /// No message follows, and the writer ends.
    Finish,
}

/// Passes each of the current secrets to a function.
pub type SecretSource = Box<dyn Fn(&mut dyn FnMut(&Secret)) + Send + Sync>;

/// State that the data plane and the writer share. Locks are held for a few instructions only.
#[derive(Default)]
struct Shared {
    /// Tokens that were sent, but that the writer does not know yet.
    sent: Mutex<Vec<Secret>>,
    /// The token that was sent last. Most requests send it again.
    last: Mutex<Option<Secret>>,
    sources: Mutex<Vec<SecretSource>>,
}

debug_shows_nothing!(Shared);

/// Counts of a recorder's exchanges.
#[derive(Debug, Default)]
pub struct RecordingCounts {
    /// Records written.
    pub written: AtomicU64,
    /// Exchanges that were not recorded: the writer was too slow, or writing failed.
    pub dropped: AtomicU64,
    /// Records that lack a body over [`LARGEST_BODY`](crate::LARGEST_BODY).
    pub truncated: AtomicU64,
}

/// Records exchanges to a cassette. All threads of the data plane share it, and none of them waits
/// for it.
///
/// [`know`](Self::know) and [`watch`](Self::watch) tell it which tokens to remove. [`Tape::begin`]
/// starts an exchange. [`finish`](Self::finish) ends the recording.
#[derive(Debug)]
pub struct Recorder {
    sender: SyncSender<Message>,
    budget: Arc<Budget>,
    clock: Clock,
    timing: bool,
    counts: Arc<RecordingCounts>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Opens a cassette for appending, or creates it. `secrets` are removed from everything, also
    /// in their encoded forms.
    ///
    /// # Errors
    /// If the file cannot be written, or cannot be appended to.
    pub fn start(
        path: &Path,
        options: RecordOptions,
        secrets: impl IntoIterator<Item = Secret>,
        clock: Clock,
    ) -> Result<Arc<Self>, CassetteError> {
        let personal = if options.personal { PersonalData::Kept } else { PersonalData::Hidden };
        let (appender, key) = Appender::open(path, personal, &clock)?;
        let (sender, receiver) = sync_channel(WAITING);
        let mut known = KnownSecrets::default();
        secrets.into_iter().for_each(|secret| known.add(secret));
        let shared = Arc::<Shared>::default();
        let counts = Arc::<RecordingCounts>::default();
        let writer = Writer {
            appender,
            pseudonyms: Pseudonyms::new(&key),
            retention: Retention { personal: options.personal, unknown: options.unknown, unlisted: false },
            counts: Arc::clone(&counts),
            known,
            shared: Arc::clone(&shared),
            failing: false,
        };
        let thread = std::thread::Builder::new().name("cassette".into());
        let writer = thread.spawn(move || writer.run(receiver)).map_err(CassetteError::Thread)?;
        Ok(Arc::new(Self {
            sender,
            budget: Arc::default(),
            clock,
            timing: options.timing,
            counts,
            shared,
            writer: Mutex::new(Some(writer)),
        }))
    }

    /// How many exchanges were recorded, and how many were not.
    pub fn counts(&self) -> &Arc<RecordingCounts> {
        &self.counts
    }

    /// Remembers a token of the proxy. From now on it is removed from everything.
    pub fn know(&self, token: &str) {
        let mut last = self.shared.last.lock();
        if last.as_ref().is_none_or(|last| last.expose() != token) {
            let token = Secret::new(token);
            *last = Some(token.clone());
            self.shared.sent.lock().push(token);
        }
    }

    /// Calls `source` before each record is written, and removes its secrets from everything.
    pub fn watch(&self, source: SecretSource) {
        self.shared.sources.lock().push(source);
    }

    /// Writes the waiting exchanges and closes the file. Later exchanges are dropped. Blocks until
    /// everything is on disk.
    pub fn finish(&self) {
        if let Some(writer) = self.writer.lock().take() {
            // This message follows the waiting exchanges. Sending fails only if the thread has
            // panicked.
            let _ = self.sender.send(Message::Finish);
            if writer.join().is_err() {
                tracing::error!(
                    "the thread that writes the cassette stopped unexpectedly; records are missing"
                );
            }
        }
    }

    fn hand_over(&self, exchange: Box<Exchange>) {
        let is_lost = exchange.pieces.lost || exchange.request().lost;
        if is_lost || self.sender.try_send(Message::Exchange(exchange)).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The state of the writing thread.
struct Writer {
    appender: Appender,
    pseudonyms: Pseudonyms,
    retention: Retention,
    counts: Arc<RecordingCounts>,
    known: KnownSecrets,
    shared: Arc<Shared>,
    /// The last record could not be written.
    failing: bool,
}

impl Writer {
    fn run(mut self, receiver: Receiver<Message>) {
        while let Ok(Message::Exchange(exchange)) = receiver.recv() {
            self.write(&exchange);
        }
        if let Err(error) = self.appender.sync() {
            tracing::warn!(%error, "cannot flush the cassette to disk; a crash of this machine may lose its last records");
        }
    }

    /// Learns the tokens that were sent since the last record, and the current tokens of the
    /// sources.
    fn learn(&mut self) {
        let sent = std::mem::take(&mut *self.shared.sent.lock());
        sent.iter().for_each(|token| self.known.add_token(token));
        let known = &mut self.known;
        self.shared.sources.lock().iter().for_each(|source| source(&mut |secret| known.add_token(secret)));
    }

    fn write(&mut self, exchange: &Exchange) {
        self.learn();
        let filter = Filter { pseudonyms: &self.pseudonyms, known: &self.known, retention: self.retention };
        let record = transcribe(exchange, &filter);
        let truncated = exchange.pieces.is_truncated() || exchange.request().is_truncated();
        match self.appender.add(record) {
            Ok(()) => {
                if std::mem::replace(&mut self.failing, false) {
                    let dropped = self.counts.dropped.load(Relaxed);
                    tracing::info!(dropped, "the cassette can be written again");
                }
                self.counts.written.fetch_add(1, Relaxed);
                self.counts.truncated.fetch_add(truncated.into(), Relaxed);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "cannot write to the cassette; records are dropped until it works again");
                }
                self.counts.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;

    use super::*;
    use crate::file::Cassette;

    fn exchange(recorder: &Arc<Recorder>, target: &str) {
        let request = Request::builder().uri(target).body(Full::<Bytes>::default()).unwrap();
        let tape = Tape::begin(recorder, &request, "http://h".into());
        let mut response = tape.response(&Response::new(Full::new(Bytes::from_static(b"fine"))));
        response.data(&Bytes::from_static(b"fine"));
    }

    #[tokio::test]
    async fn a_writer_that_cannot_follow_costs_records_and_nobody_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cassette");
        let recorder = Recorder::start(&path, RecordOptions::default(), [], Clock::system()).unwrap();
        let counts = Arc::clone(recorder.counts());
        exchange(&recorder, "/0");
        // The writer needs this lock for every record.
        let held = recorder.shared.sources.lock();
        (0..2 * WAITING).for_each(|n| exchange(&recorder, &format!("/{n}")));
        let dropped = counts.dropped.load(Relaxed);
        assert!((WAITING as u64 - 2..=WAITING as u64).contains(&dropped), "{dropped}");
        drop(held);
        recorder.finish();
        assert_eq!(counts.written.load(Relaxed) + dropped, 2 * WAITING as u64 + 1);
        let cassette = Cassette::read(&path).unwrap();
        assert_eq!(cassette.records.len() as u64, counts.written.load(Relaxed));
        // Late exchanges are counted too.
        exchange(&recorder, "/late");
        assert_eq!(counts.dropped.load(Relaxed), dropped + 1);
    }

    #[tokio::test]
    async fn a_response_that_is_dropped_before_its_end_is_recorded_as_cut_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cassette");
        let recorder = Recorder::start(
            &path,
            RecordOptions { unknown: true, ..RecordOptions::default() },
            [],
            Clock::system(),
        )
        .unwrap();
        let request = Request::builder().uri("/").body(Full::<Bytes>::default()).unwrap();
        let tape = Tape::begin(&recorder, &request, "http://h".into());
        let mut response = tape.response(&Response::new(Full::new(Bytes::from_static(b"all of it"))));
        response.data(&Bytes::from_static(b"all"));
        drop(response);
        // An exchange without a response is not recorded.
        drop(Tape::begin(&recorder, &request, "http://h".into()));
        recorder.finish();
        let cassette = Cassette::read(&path).unwrap();
        let [record] = &cassette.records[..] else { panic!("{:?}", cassette.records) };
        assert!(!record.response.complete);
        assert_eq!(record.response.body.bytes().unwrap(), b"all");
    }
}
