//! From the data plane to the file: a bounded channel, and a thread that hides, encodes and writes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::file::{Appender, CassetteError};
use super::format::PersonalData;
use super::pseudonyms::Pseudonyms;
use super::tape::{Budget, Exchange};
use super::transcribe::transcribe;
use crate::clock::Clock;
use crate::metrics::Recording;
use crate::secret::Secret;

/// So many exchanges wait for the writer. What they hold in bytes has a limit of its own.
const WAITING: usize = 1024;

/// So many tokens are remembered to be looked for; the oldest has long expired.
const TOKENS: usize = 32;

/// What to record, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordOptions {
    /// Keep phone numbers, names and e-mail addresses as they are. Credentials are hidden all the same.
    pub personal: bool,
    /// Note when each piece of an answer came.
    pub timing: bool,
}

enum Message {
    Exchange(Box<Exchange>),
    Finish,
}

/// Records exchanges to a cassette. Shared by all threads of the data plane; none of them waits for it.
#[derive(Debug)]
pub struct Recorder {
    sender: SyncSender<Message>,
    pub(super) budget: Arc<Budget>,
    pub(super) clock: Clock,
    pub(super) timing: bool,
    counts: Recording,
    tokens: Arc<Mutex<VecDeque<Secret>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Opens the cassette, to begin it or to add to it; what becomes of the exchanges is counted in `counts`.
    ///
    /// # Errors
    /// When it cannot be written to, or is something else.
    pub fn start(
        path: &Path,
        options: RecordOptions,
        clock: Clock,
        counts: Recording,
    ) -> Result<Arc<Self>, CassetteError> {
        let personal = if options.personal { PersonalData::Kept } else { PersonalData::Hidden };
        let (appender, key) = Appender::open(path, personal, &clock)?;
        let (sender, receiver) = sync_channel(WAITING);
        let tokens = Arc::<Mutex<VecDeque<Secret>>>::default();
        let writer = Writer {
            appender,
            pseudonyms: Pseudonyms::new(&key, !options.personal),
            counts: counts.clone(),
            tokens: Arc::clone(&tokens),
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
            tokens,
            writer: Mutex::new(Some(writer)),
        }))
    }

    /// Remembers a token that is sent to the upstream: should the upstream repeat it, it is not recorded.
    pub fn know(&self, token: &str) {
        let mut tokens = self.tokens.lock();
        if token.len() < 8 || tokens.iter().any(|known| known.expose() == token) {
            return;
        }
        tokens.truncate(TOKENS - 1);
        tokens.push_front(Secret::new(token));
    }

    /// Writes what waits, and closes the file. Blocks for as long as the disk takes; what comes later is dropped.
    pub fn finish(&self) {
        if let Some(writer) = self.writer.lock().take() {
            // Behind what waits; fails only where the thread has ended by itself.
            let _ = self.sender.send(Message::Finish);
            if writer.join().is_err() {
                tracing::error!("the cassette's writer ended before its work");
            }
        }
    }

    pub(super) fn hand_over(&self, exchange: Box<Exchange>) {
        let lost = exchange.pieces.lost || exchange.request().lost;
        if lost {
            self.counts.dropped.inc();
            return;
        }
        match self.sender.try_send(Message::Exchange(exchange)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.dropped.inc();
            }
        }
    }
}

struct Writer {
    appender: Appender,
    pseudonyms: Pseudonyms,
    counts: Recording,
    tokens: Arc<Mutex<VecDeque<Secret>>>,
    failing: bool,
}

impl Writer {
    fn run(mut self, receiver: Receiver<Message>) {
        while let Ok(Message::Exchange(exchange)) = receiver.recv() {
            self.write(&exchange);
        }
        if let Err(error) = self.appender.sync() {
            tracing::warn!(%error, "the cassette may not be on the disk yet");
        }
    }

    fn write(&mut self, exchange: &Exchange) {
        let tokens: Vec<Secret> = self.tokens.lock().iter().cloned().collect();
        let record = transcribe(exchange, &tokens, &mut self.pseudonyms);
        let truncated = exchange.pieces.is_truncated() || exchange.request().is_truncated();
        match self.appender.add(record) {
            Ok(()) => {
                if std::mem::replace(&mut self.failing, false) {
                    let dropped = self.counts.dropped.get();
                    tracing::info!(dropped, "the cassette is written again");
                }
                self.counts.written.inc();
                self.counts.truncated.inc_by(u64::from(truncated));
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the cassette cannot be written; records are dropped");
                }
                self.counts.dropped.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;

    use super::super::file::Cassette;
    use super::super::tape::Tape;
    use super::*;

    fn exchange(recorder: &Arc<Recorder>, target: &str) {
        let request = Request::builder().uri(target).body(Full::<Bytes>::default()).unwrap();
        let tape = Tape::begin(recorder, &request, "http://h".into());
        let mut answer = tape.answer(&Response::new(Full::new(Bytes::from_static(b"fine"))));
        answer.data(&Bytes::from_static(b"fine"));
    }

    #[tokio::test]
    async fn a_writer_that_cannot_follow_costs_records_and_nobody_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cassette");
        let counts = Recording::default();
        let recorder =
            Recorder::start(&path, RecordOptions::default(), Clock::system(), counts.clone()).unwrap();
        exchange(&recorder, "/0");
        // The writer needs it for every record.
        let held = recorder.tokens.lock();
        (0..2 * WAITING).for_each(|n| exchange(&recorder, &format!("/{n}")));
        let dropped = counts.dropped.get();
        assert!((WAITING as u64 - 2..=WAITING as u64).contains(&dropped), "{dropped}");
        drop(held);
        recorder.finish();
        assert_eq!(counts.written.get() + dropped, 2 * WAITING as u64 + 1);
        let cassette = Cassette::read(&path).unwrap();
        assert_eq!(cassette.records.len() as u64, counts.written.get());
        // Late ones are counted too.
        exchange(&recorder, "/late");
        assert_eq!(counts.dropped.get(), dropped + 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_let_go_before_its_end_is_recorded_as_cut_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cassette");
        let recorder =
            Recorder::start(&path, RecordOptions::default(), Clock::system(), Recording::default()).unwrap();
        let request = Request::builder().uri("/").body(Full::<Bytes>::default()).unwrap();
        let tape = Tape::begin(&recorder, &request, "http://h".into());
        let mut answer = tape.answer(&Response::new(Full::new(Bytes::from_static(b"all of it"))));
        answer.data(&Bytes::from_static(b"all"));
        drop(answer);
        // One whose request was never answered is not.
        drop(Tape::begin(&recorder, &request, "http://h".into()));
        recorder.finish();
        let cassette = Cassette::read(&path).unwrap();
        let [record] = &cassette.records[..] else { panic!("{:?}", cassette.records) };
        assert!(!record.answer.complete);
        assert_eq!(record.answer.body.bytes().unwrap(), b"all");
    }
}
