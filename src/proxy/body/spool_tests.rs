use std::future::poll_fn;

use super::*;

fn disk(directory: &std::path::Path, total: u64) -> Rc<Disk> {
    let config = config::Retry {
        disk: 64 << 20,
        disk_total: total,
        disk_path: directory.to_owned(),
        ..config::Retry::default()
    };
    Rc::new(Disk::new(&config, Gauge::default()))
}

fn piece(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); 100_000].into()
}

#[tokio::test]
async fn what_was_kept_is_read_back_and_memory_stays_at_two_buffers() {
    let directory = tempfile::tempdir().unwrap();
    let disk = disk(directory.path(), 1 << 30);
    let mut spool = Spool::begin(&disk, &[Piece::Data(piece(0))], 100_000).unwrap();
    for number in 1..100 {
        poll_fn(|cx| spool.poll_room(cx)).await.unwrap();
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
    let mut first = Spool::begin(&disk, &[], 0).unwrap();
    first.push(&piece(0)).unwrap();
    first.push(&piece(1)).unwrap();
    let mut second = Spool::begin(&disk, &[], 0).unwrap();
    assert_eq!(second.push(&piece(2)), Err(Lost::DiskFull));
    assert_eq!(disk.used.get(), 200_000);
    // A write under way keeps its space.
    poll_fn(|cx| first.poll_job(cx)).await.unwrap();
    drop(first);
    poll_fn(|cx| second.poll_room(cx)).await.unwrap();
    second.push(&piece(2)).unwrap();
}

#[tokio::test]
async fn a_directory_that_is_gone_is_an_error_and_gives_its_space_back() {
    let disk = disk(std::path::Path::new("/nowhere"), 1 << 30);
    let mut spool = Spool::begin(&disk, &[Piece::Data(piece(0))], 100_000).unwrap();
    assert!(poll_fn(|cx| spool.poll_read(cx, 0)).await.is_err());
    drop(spool);
    assert_eq!(disk.used.get(), 0);
}
