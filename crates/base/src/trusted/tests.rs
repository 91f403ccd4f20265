use std::os::unix::fs::symlink;

use super::*;

const ALICE: u32 = 1000;
const BOB: u32 = 1001;
const SERVICE: u32 = 999;

/// Alice and Bob each have their own group, and both are in `devs`. `users` (100) is the primary
/// group of two users.
fn accounts() -> Accounts {
    Accounts {
        passwd: "root:x:0:0::/root:/bin/sh\noperator:x:11:0::/root:/bin/false\nservice:x:999:999::/:/bin/false\n\
                 alice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\ncarol:x:1002:100::/:/bin/sh\n\
                 dave:x:1003:100::/:/bin/sh\nbroken line\n"
            .into(),
        group: "root:x:0:root\nusers:x:100:\nservice:x:999:\nalice:x:1000:\nbob:x:1001:alice\ndevs:x:2000:alice,bob\n"
            .into(),
    }
}

fn judge(owner: u32, group: u32, mode: u32, us: u32) -> Checks {
    Facts { owner, group, mode }.judge(us, Path::new("f"), accounts)
}

fn flaws(owner: u32, group: u32, mode: u32, us: u32) -> Vec<String> {
    judge(owner, group, mode, us).flaws.iter().map(ToString::to_string).collect()
}

#[test]
fn the_owner_is_root_or_us() {
    assert!(flaws(0, 0, 0o600, ALICE).is_empty());
    assert!(flaws(ALICE, ALICE, 0o600, ALICE).is_empty());
    assert_eq!(
        flaws(BOB, BOB, 0o600, ALICE),
        ["f belongs to user bob, who can change it; chown alice f, or run vbc-proxy as bob"]
    );
    assert_eq!(
        flaws(4242, 4242, 0o600, 0),
        ["f belongs to user 4242, who can change it; chown root f, or run vbc-proxy as 4242"]
    );
}

#[test]
fn nobody_else_may_write_to_it() {
    assert_eq!(flaws(0, 0, 0o602, ALICE), ["everyone on this machine can write to f; chmod o-w f"]);
    assert_eq!(flaws(ALICE, 2000, 0o666, ALICE), ["everyone on this machine can write to f; chmod go-w f"]);
    assert_eq!(flaws(ALICE, 2000, 0o660, ALICE), ["members of the group devs can write to f; chmod g-w f"]);
    assert_eq!(flaws(ALICE, 4242, 0o620, ALICE), ["members of the group 4242 can write to f; chmod g-w f"]);
    assert!(flaws(ALICE, 2000, 0o640, ALICE).is_empty());
    // Several flaws at once.
    assert_eq!(flaws(BOB, 2000, 0o666, 0).len(), 2);
}

#[test]
fn a_group_without_other_members_is_its_owners_own() {
    // Files created under umask 002 have this mode.
    assert!(flaws(ALICE, ALICE, 0o664, ALICE).is_empty());
    assert!(flaws(0, 0, 0o664, SERVICE).is_empty());
    let is_own = |owner, group| accounts().is_own_group(owner, group);
    assert!(is_own(ALICE, ALICE) && is_own(SERVICE, SERVICE) && is_own(0, 0));
    // Alice is a member of Bob's group.
    assert!(!is_own(BOB, BOB));
    // Group 100 is the primary group of two users.
    assert!(!is_own(1002, 100));
    // The first two groups belong to another user; the third is no primary group.
    assert!(!is_own(0, ALICE) && !is_own(ALICE, SERVICE) && !is_own(ALICE, 2000));
    // An unknown user, as in a container, owns the group with the same number.
    assert!(is_own(10001, 10001) && !is_own(10001, 0) && !is_own(10001, 10002));
    let none = Accounts::default();
    assert!(none.is_own_group(0, 0) && none.is_own_group(65532, 65532) && !none.is_own_group(65532, 0));
}

#[test]
fn what_others_can_read_is_told_unless_root_owns_it() {
    let readers = |owner, group, mode| judge(owner, group, mode, ALICE).exposed.map(|flaw| flaw.to_string());
    assert_eq!(readers(ALICE, ALICE, 0o600), None);
    assert_eq!(readers(ALICE, ALICE, 0o604).unwrap(), "everyone on this machine can read f; chmod 600 f");
    assert_eq!(readers(ALICE, 2000, 0o640).unwrap(), "members of the group devs can read f; chmod 600 f");
    // Nobody else is in Alice's own group.
    assert_eq!(readers(ALICE, ALICE, 0o640), None);
    // Secrets of Docker (0444) and Kubernetes (0644, 0440), and keys of ssl-cert (0640).
    for (group, mode) in [(0, 0o444), (0, 0o644), (2000, 0o440), (2000, 0o640)] {
        assert_eq!(judge(0, group, mode, ALICE), Checks::default(), "{mode:o}");
    }
}

#[test]
fn the_file_at_the_end_of_a_link_is_read_and_judged() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::write(&real, "text").unwrap();
    symlink(&real, &link).unwrap();
    assert_eq!(read(&link, 10).unwrap().trusted().unwrap().as_slice(), b"text");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o606)).unwrap();
    let flaw = read(&link, 10).unwrap().trusted().unwrap_err();
    assert!(flaw.message.contains("everyone on this machine can write to"), "{flaw}");
}

#[test]
fn files_are_read_to_their_end_and_not_beyond_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    for length in [0, 1, 4094, 4095, 4096, 4097, 10_000] {
        let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
        fs::write(&path, &content).unwrap();
        assert_eq!(*read(&path, 10_000).unwrap().trusted().unwrap(), content, "{length}");
    }
    fs::write(&path, [0; 11]).unwrap();
    assert_eq!(read(&path, 10).unwrap_err().kind(), ErrorKind::FileTooLarge);
    // Files in /proc report length 0, as a pipe does.
    let (content, _) = read(Path::new("/proc/self/status"), 1 << 20).unwrap().into_parts();
    assert!(content.starts_with(b"Name:"));
    assert!(read(directory.path(), 10).is_err() && read(Path::new("/dev/zero"), 100_000).is_err());
}

/// Makes a named pipe, and returns its path.
fn pipe(directory: &Path) -> PathBuf {
    let path = directory.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_pipe_of_ours_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = pipe(directory.path());
    let writer = std::thread::spawn({
        let path = path.clone();
        move || fs::write(path, "text")
    });
    assert_eq!(read(&path, 10).unwrap().trusted().unwrap().as_slice(), b"text");
    writer.join().unwrap().unwrap();
}

#[test]
fn a_pipe_of_a_stranger_is_refused_without_waiting_for_its_writer() {
    // Only root can give a file to another user.
    if us() != 0 {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = pipe(directory.path());
    std::os::unix::fs::chown(&path, Some(54_321), None).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    // Runs in a thread, because a `read` that waited for a writer would block the test.
    std::thread::spawn(move || done.send(read(&path, 10)));
    let error = ended.recv_timeout(std::time::Duration::from_secs(20)).unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is not a regular file and belongs to user 54321; use a file of your own"
    );
}

#[test]
fn a_directory_is_judged_as_a_file_is_unless_it_is_sticky() {
    let flaws = |owner, group, mode| {
        Facts { owner, group, mode }.of_directory().judge(ALICE, Path::new("d"), accounts).flaws.len()
    };
    // Two directories created under umask 002, and one that others can read.
    assert_eq!((flaws(ALICE, ALICE, 0o775), flaws(0, 0, 0o775), flaws(ALICE, 2000, 0o755)), (0, 0, 0));
    assert_eq!((flaws(ALICE, 2000, 0o775), flaws(ALICE, ALICE, 0o777), flaws(BOB, BOB, 0o700)), (1, 1, 1));
    assert_eq!((flaws(0, 0, 0o1777), flaws(ALICE, 2000, 0o1770), flaws(BOB, BOB, 0o1777)), (0, 0, 1));
}

#[test]
fn an_output_is_for_its_owner_alone_and_follows_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    fs::write(at("theirs"), "theirs").unwrap();
    for link in ["link", "dangling"] {
        let target = if link == "link" { "theirs" } else { "nothing" };
        symlink(at(target), at(link)).unwrap();
        for error in [write_output(&at(link), b"x").unwrap_err(), open_output(&at(link)).unwrap_err()] {
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
    }
    assert_eq!(fs::read(at("theirs")).unwrap(), b"theirs");
    assert!(!at("nothing").exists());
    assert!(
        write_output(directory.path(), b"x").is_err() && write_output(Path::new("/dev/null"), b"x").is_err()
    );
    assert!(open_output(directory.path()).is_err() && open_output(Path::new("/dev/null")).is_err());

    write_output(&at("new"), b"first").unwrap();
    fs::set_permissions(at("new"), fs::Permissions::from_mode(0o666)).unwrap();
    write_output(&at("new"), b"2").unwrap();
    assert_eq!((fs::read(at("new")).unwrap(), mode("new")), (b"2".to_vec(), 0o600));
    open_output(&at("opened")).unwrap();
    assert_eq!(mode("opened"), 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5, "nothing was left behind");
}
