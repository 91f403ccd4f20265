//! Searches compressed files for known secrets. A secret cannot be removed from a compressed file,
//! so a file that may contain one is not recorded.

use memchr::memmem;

use super::secrets::KnownSecrets;
use crate::coding;
use crate::format::LARGEST_BODY;

/// The first bytes of a file in a zip archive.
const ENTRY: &[u8] = b"PK\x03\x04";

/// The first bytes of formats that are not decoded here: zstd, bzip2, xz, 7z, rar.
const OTHERS: [&[u8]; 5] = [b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!"];

/// How many levels of files within files are read.
const DEEPEST: usize = 3;

/// Whether a compressed file contains a known secret, or cannot be decoded and so may contain one.
pub(super) fn may_contain_secret(known: &KnownSecrets, bytes: &[u8]) -> bool {
    may_contain_secret_at(known, bytes, 0)
}

fn may_contain_secret_at(known: &KnownSecrets, bytes: &[u8], depth: usize) -> bool {
    let is_bad = |plain: Option<Vec<u8>>| {
        let Some(plain) = plain.filter(|_| depth < DEEPEST) else { return true };
        known.is_in(&plain) || may_contain_secret_at(known, &plain, depth + 1)
    };
    if coding::is_gzip(bytes) {
        return is_bad(coding::decode("gzip", bytes, LARGEST_BODY));
    }
    if bytes.starts_with(ENTRY) {
        return memmem::find_iter(bytes, ENTRY).any(|at| is_bad(entry(&bytes[at..])));
    }
    OTHERS.iter().any(|magic| bytes.starts_with(magic))
}

/// The content of the file that starts here in a zip archive (APPNOTE.TXT 4.3.7).
fn entry(bytes: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let (flags, method) = (number(6)?, number(8)?);
    let data = bytes.get(30 + usize::from(number(26)?) + usize::from(number(28)?)..)?;
    let is_encrypted = flags & 1 == 1;
    match method {
        _ if is_encrypted => None,
        // The content is stored uncompressed, so the search of the whole archive has covered it.
        0 => Some(Vec::new()),
        8 => coding::inflate(data, LARGEST_BODY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vbc_base::secret::Secret;

    fn zip(content: &[u8], method: u16, flags: u16) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        let mut file = ENTRY.to_vec();
        [20, flags, method, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
            .iter()
            .for_each(|n: &u16| file.extend(n.to_le_bytes()));
        [&file[..], b"a", &encoder.finish().unwrap()].concat()
    }

    #[test]
    fn a_secret_in_a_compressed_file_is_found_and_what_cannot_be_read_may_have_one() {
        let mut known = KnownSecrets::default();
        known.add(Secret::new("sim-password"));
        let gzip = |bytes: &[u8]| coding::gzip(bytes).unwrap();
        let (with, without) = (b"it is sim-password, twice: sim-password", b"nothing of importance");
        assert!(may_contain_secret(&known, &gzip(with)) && !may_contain_secret(&known, &gzip(without)));
        assert!(
            may_contain_secret(&known, &gzip(&gzip(with)))
                && !may_contain_secret(&known, &gzip(&gzip(without)))
        );
        assert!(
            may_contain_secret(&known, &zip(with, 8, 0)) && !may_contain_secret(&known, &zip(without, 8, 0))
        );
        let two = [zip(without, 8, 0), zip(with, 8, 0)].concat();
        assert!(may_contain_secret(&known, &two));
        for unread in
            [zip(without, 8, 1), zip(without, 12, 0), b"BZh91AY".to_vec(), gzip(without)[..20].to_vec()]
        {
            assert!(may_contain_secret(&known, &unread));
        }
        assert!(!may_contain_secret(&known, b"plain") && !may_contain_secret(&known, b""));
    }
}
