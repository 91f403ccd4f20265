use super::*;
use crate::format::{Content, RecordedRequest, RecordedResponse};
use vbc_base::clock::Timestamp;

fn record(target: &str) -> Record {
    Record {
        n: 0,
        at: Timestamp::UNIX_EPOCH,
        millis: 1,
        base: "http://localhost".into(),
        request: RecordedRequest {
            method: "GET".into(),
            target: target.into(),
            version: "HTTP/1.1".into(),
            headers: vec![("accept".into(), "*/*".into())],
            body: Content::Empty,
            body_hash: None,
        },
        response: RecordedResponse {
            status: 200,
            reason: None,
            headers: Vec::new(),
            body: Content::Text("ok".into()),
            body_hash: None,
            trailers: Vec::new(),
            complete: true,
            pieces: Vec::new(),
        },
    }
}

fn open(path: &Path) -> Result<(Appender, [u8; KEY]), CassetteError> {
    Appender::open(path, PersonalData::Hidden, &Clock::system())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn records_are_read_back_and_more_are_added_under_the_same_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cassette");
    let (mut appender, key) = open(&path).unwrap();
    appender.add(record("/1")).unwrap();
    drop(appender);
    let (mut appender, again) = open(&path).unwrap();
    assert_eq!(key, again);
    appender.add(record("/2")).unwrap();
    let read = Cassette::read(&path).unwrap();
    let targets: Vec<_> = read.records.iter().map(|record| (record.n, &*record.request.target)).collect();
    assert_eq!(targets, [(1, "/1"), (2, "/2")]);
    assert_eq!((read.torn, read.key), (0, Some(key)));
    assert_eq!((mode(&path), mode(&key_path(&path))), (0o600, 0o600));
}

#[test]
fn a_key_that_was_being_written_in_a_crash_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cassette");
    let started = directory.path().join("a.cassette.key.new");
    std::fs::write(&started, "0123").unwrap();
    let (_, key) = open(&path).unwrap();
    assert_eq!((read_key(&path).unwrap(), mode(&key_path(&path))), (Some(key), 0o600));
    assert!(!started.exists());
}

#[test]
fn wherever_a_crash_cuts_the_file_the_whole_records_are_there_and_more_can_be_added() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cassette");
    let (mut appender, _) = open(&path).unwrap();
    appender.add(record("/1")).unwrap();
    let one = std::fs::metadata(&path).unwrap().len();
    appender.add(record("/2")).unwrap();
    drop(appender);
    let text = std::fs::read(&path).unwrap();
    let header = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in 0..=text.len() {
        std::fs::write(&path, &text[..cut]).unwrap();
        let whole = usize::from(cut as u64 >= one) + usize::from(cut == text.len());
        if cut >= header {
            let read = Cassette::read(&path).unwrap();
            assert_eq!(read.records.len(), whole, "{cut}");
            let end = if whole == 0 {
                header
            } else if whole == 1 {
                one as usize
            } else {
                text.len()
            };
            assert_eq!(read.torn, cut - end, "{cut}");
        }
        let (mut appender, _) = open(&path).unwrap();
        appender.add(record("/3")).unwrap();
        drop(appender);
        let read = Cassette::read(&path).unwrap();
        assert_eq!((read.records.len(), read.torn), (whole + 1, 0), "{cut}");
    }
}

#[test]
fn a_last_line_of_zeros_is_what_a_crash_left_and_one_in_the_middle_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cassette");
    let (mut appender, _) = open(&path).unwrap();
    appender.add(record("/1")).unwrap();
    drop(appender);
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"\0\0\0\n");
    std::fs::write(&path, &text).unwrap();
    let read = Cassette::read(&path).unwrap();
    assert_eq!((read.records.len(), read.torn), (1, 4));
    text.extend_from_slice(b"{}\n");
    std::fs::write(&path, &text).unwrap();
    let error = Cassette::read(&path).unwrap_err();
    assert!(matches!(error, CassetteError::Damaged { line: 3, .. }), "{error}");
}

#[test]
fn what_is_no_cassette_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    for text in ["dear diary", "{\"log\":{}}\n", "\n"] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(open(&path), Err(CassetteError::Foreign { .. })), "{text}");
        assert_eq!((std::fs::read_to_string(&path).unwrap(), mode(&path)), (text.to_owned(), 0o644));
        assert!(!key_path(&path).exists());
    }
    assert!(matches!(open(Path::new("/dev/null")), Err(CassetteError::Foreign { .. })));
    std::fs::write(&path, "{\"vbc_proxy_cassette\":2}\n").unwrap();
    assert!(matches!(open(&path), Err(CassetteError::Newer { version: 2, .. })));
}

#[test]
fn nothing_is_added_under_another_key_another_treatment_or_beside_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cassette");
    let (held, _) = open(&path).unwrap();
    assert!(matches!(open(&path), Err(CassetteError::Locked { .. })));
    drop(held);
    let kept = Appender::open(&path, PersonalData::Kept, &Clock::system());
    assert!(matches!(kept, Err(CassetteError::OtherTreatment { .. })));
    std::fs::write(key_path(&path), "00".repeat(KEY)).unwrap();
    assert!(matches!(open(&path), Err(CassetteError::NoKey { state: "belongs to another cassette", .. })));
    assert_eq!(Cassette::read(&path).unwrap().key, None);
    std::fs::remove_file(key_path(&path)).unwrap();
    assert!(matches!(open(&path), Err(CassetteError::NoKey { state: "is missing", .. })));
}

#[test]
fn what_a_failing_disk_has_half_written_is_taken_back_before_more_is_added() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cassette");
    let (mut appender, _) = open(&path).unwrap();
    appender.add(record("/1")).unwrap();
    // The file is neither written to nor truncated.
    let writable = std::mem::replace(&mut appender.file, File::open(&path).unwrap());
    assert!(appender.add(record("/lost")).is_err());
    assert!(appender.add(record("/lost")).is_err());
    appender.file = writable;
    // Half of a line was written.
    appender.file.write_all(b"{\"n\":2,").unwrap();
    appender.add(record("/2")).unwrap();
    drop(appender);
    let read = Cassette::read(&path).unwrap();
    let targets: Vec<_> =
        read.records.iter().map(|record| (record.n, record.request.target.as_str())).collect();
    assert_eq!((targets, read.torn), (vec![(1, "/1"), (2, "/2")], 0));
}
