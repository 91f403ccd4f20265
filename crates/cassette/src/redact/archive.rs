//! Compressed files: a known secret within one cannot be taken out, so such a file is not recorded.

use std::io::Read;

use memchr::memmem;

use crate::coding;
use crate::format::LARGEST_BODY;
use crate::redact::secrets::KnownSecrets;

/// How a file in a zip archive begins.
const ENTRY: &[u8] = b"PK\x03\x04";

/// How files begin that are not read here: zstd, bzip2, xz, 7z, rar.
const OTHERS: [&[u8]; 5] = [b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!"];

/// Files within files that are read.
const DEEPEST: usize = 3;

/// Whether a known secret is in a compressed file, or may be since the file cannot be read.
pub(crate) fn may_hide(known: &KnownSecrets, bytes: &[u8]) -> bool {
    may_hide_at(known, bytes, 0)
}

fn may_hide_at(known: &KnownSecrets, bytes: &[u8], depth: usize) -> bool {
    let is_bad = |plain: Option<Vec<u8>>| {
        let Some(plain) = plain.filter(|_| depth < DEEPEST) else { return true };
        known.is_in(&plain) || may_hide_at(known, &plain, depth + 1)
    };
    if coding::is_gzip(bytes) {
        return is_bad(coding::decode("gzip", bytes, LARGEST_BODY));
    }
    if bytes.starts_with(ENTRY) {
        return memmem::find_iter(bytes, ENTRY).any(|at| is_bad(entry(&bytes[at..])));
    }
    OTHERS.iter().any(|magic| bytes.starts_with(magic))
}

/// The content of a zip archive's file that begins here (APPNOTE.TXT 4.3.7).
fn entry(bytes: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let (flags, method) = (number(6)?, number(8)?);
    let data = bytes.get(30 + usize::from(number(26)?) + usize::from(number(28)?)..)?;
    match method {
        _ if flags & 1 == 1 => None,
        // Not compressed: it has been read as it is.
        0 => Some(Vec::new()),
        8 => {
            let mut plain = Vec::new();
            let most = LARGEST_BODY as u64 + 1;
            flate2::read::DeflateDecoder::new(data).take(most).read_to_end(&mut plain).ok()?;
            (plain.len() <= LARGEST_BODY).then_some(plain)
        }
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
        assert!(may_hide(&known, &gzip(with)) && !may_hide(&known, &gzip(without)));
        assert!(may_hide(&known, &gzip(&gzip(with))) && !may_hide(&known, &gzip(&gzip(without))));
        assert!(may_hide(&known, &zip(with, 8, 0)) && !may_hide(&known, &zip(without, 8, 0)));
        let two = [zip(without, 8, 0), zip(with, 8, 0)].concat();
        assert!(may_hide(&known, &two));
        for unread in
            [zip(without, 8, 1), zip(without, 12, 0), b"BZh91AY".to_vec(), gzip(without)[..20].to_vec()]
        {
            assert!(may_hide(&known, &unread));
        }
        assert!(!may_hide(&known, b"plain") && !may_hide(&known, b""));
    }
}
