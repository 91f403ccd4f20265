use std::future::poll_fn;
use std::sync::Barrier;

use super::super::copy::{Copy, Piece, Position};

use super::*;

fn disk(directory: &Path, total: u64) -> Rc<Disk> {
    Rc::new(plain(directory, total))
}

/// A disk that opens files with this function.
fn opening(open: Open) -> Rc<Disk> {
    Rc::new(Disk { open, ..plain(Path::new("/nowhere"), 1 << 30) })
}

fn plain(directory: &Path, total: u64) -> Disk {
    let config = config::Retry {
        disk: 64 << 20,
        disk_total: total,
        disk_path: directory.to_owned(),
        ..config::Retry::default()
    };
    Disk::new(&config, Gauge::default(), &Descriptors::new(9))
}

fn piece(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); 100_000].into()
}

fn started(disk: &Rc<Disk>, bytes: &[u8]) -> Result<Spool, ReplayLoss> {
    let mut kept = KeptBytes::new(bytes.len());
    kept.append(bytes);
    Spool::begin(disk, &mut kept)
}

#[tokio::test]
async fn what_was_kept_is_read_back_and_memory_stays_at_two_buffers() {
    let directory = tempfile::tempdir().unwrap();
    let disk = disk(directory.path(), 1 << 30);
    let mut spool = started(&disk, &piece(0)).unwrap();
    for number in 1..100 {
        poll_fn(|cx| spool.poll_capacity(cx)).await.unwrap();
        spool.push(&piece(number)).unwrap();
        assert!(spool.pending.len() < BUFFER + 100_000, "{}", spool.pending.len());
        assert!(spool.in_job < (BUFFER + 100_000) as u64, "{}", spool.in_job);
    }
    assert_eq!((spool.len(), disk.used.get()), (10_000_000, 10_000_000));
    let expected: Vec<u8> = (0..100).flat_map(piece).collect();
    let mut read = Vec::new();
    while (read.len() as u64) < spool.len() {
        let part = poll_fn(|cx| spool.poll_read(cx, read.len() as u64)).await.unwrap();
        assert!(!part.is_empty() && part.len() < BUFFER + 100_000);
        read.extend_from_slice(&part);
    }
    assert!(read == expected);
    let file = spool.backing.file.get().unwrap().metadata().unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    drop(spool);
    assert_eq!(disk.used.get(), 0);
}

#[tokio::test]
async fn the_total_counts_for_all_and_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let disk = disk(directory.path(), 250_000);
    let mut first = started(&disk, &[]).unwrap();
    first.push(&piece(0)).unwrap();
    first.push(&piece(1)).unwrap();
    let mut second = started(&disk, &[]).unwrap();
    assert_eq!(second.push(&piece(2)), Err(ReplayLoss::DiskFull));
    assert_eq!(disk.used.get(), 200_000);
    // A write that is still running keeps its space.
    poll_fn(|cx| first.poll_job(cx)).await.unwrap();
    drop(first);
    poll_fn(|cx| second.poll_capacity(cx)).await.unwrap();
    second.push(&piece(2)).unwrap();
}

#[tokio::test]
async fn a_directory_that_is_gone_is_an_error_and_gives_its_space_back() {
    let disk = disk(Path::new("/nowhere"), 1 << 30);
    let mut spool = started(&disk, &piece(0)).unwrap();
    assert!(poll_fn(|cx| spool.poll_read(cx, 0)).await.is_err());
    drop(spool);
    assert_eq!(disk.used.get(), 0);
}

/// Adds pieces to a copy that begins in memory, until the copy is lost or has `most` pieces.
async fn keep(disk: &Rc<Disk>, most: usize) -> Copy {
    let mut copy = Copy::new(0, 1, disk);
    for number in 0..most {
        poll_fn(|cx| copy.poll_capacity(cx)).await;
        copy.push(&Piece::Data(piece(number)), 1, disk);
        if copy.loss().is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    copy
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_costs_the_copy_and_is_left_alone_for_a_minute() {
    let disk = opening(|_| File::options().write(true).open("/dev/full"));
    let copy = keep(&disk, 1000).await;
    assert_eq!(copy.loss(), Some(ReplayLoss::DiskFailed));
    assert_eq!(disk.used.get(), 0);
    assert_eq!(keep(&disk, 2).await.loss(), Some(ReplayLoss::DiskFailed));
    tokio::time::advance(DISK_PAUSE).await;
    assert_eq!(keep(&disk, 1).await.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn an_upload_waits_two_seconds_for_a_slow_disk_and_goes_on() {
    static WRITING: Barrier = Barrier::new(2);
    /// Lets the write go on even if the test fails: the runtime waits for the write.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            WRITING.wait();
        }
    }
    let disk = opening(|_| {
        WRITING.wait();
        Err(io::ErrorKind::StorageFull.into())
    });
    let mut copy = Copy::new(0, 1, &disk);
    copy.push(&Piece::Data(piece(0)), 1, &disk);
    let _release = Release;
    for number in 1..3 {
        poll_fn(|cx| copy.poll_capacity(cx)).await;
        copy.push(&Piece::Data(piece(number)), 1, &disk);
    }
    let mut is_ready = || copy.poll_capacity(&mut Context::from_waker(std::task::Waker::noop())).is_ready();
    assert!(!is_ready());
    tokio::time::advance(WRITE_TIMEOUT - Duration::from_millis(1)).await;
    assert!(!is_ready());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(is_ready());
    assert_eq!(copy.loss(), Some(ReplayLoss::DiskFailed));
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_back_is_an_error_and_not_an_end() {
    let disk = opening(|_| File::options().write(true).open("/dev/null"));
    let mut copy = keep(&disk, 6).await;
    let read = poll_fn(|cx| copy.poll_piece(cx, Position::default())).await;
    assert!(matches!(read, Some(Err(_))));
}
