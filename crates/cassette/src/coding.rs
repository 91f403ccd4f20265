//! Content codings taken off: what is compressed cannot be looked into.

use std::io::{self, Read};

/// A body without its codings, of at most `most` bytes; `None` where that cannot be had.
pub(crate) fn decode(codings: &str, body: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut bytes = body.to_vec();
    // Applied in the order they are listed (RFC 9110 §8.4).
    for coding in codings.split(',').rev() {
        bytes = match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => bytes,
            "gzip" | "x-gzip" => all(flate2::read::MultiGzDecoder::new(&*bytes), most).ok()?,
            // Some mean the bare stream, whatever RFC 9110 §8.4.1.2 says.
            "deflate" => all(flate2::read::ZlibDecoder::new(&*bytes), most)
                .or_else(|_| all(flate2::read::DeflateDecoder::new(&*bytes), most))
                .ok()?,
            _ => return None,
        };
    }
    Some(bytes)
}

/// Whether bytes begin as those of a file of gzip do.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// Bytes in a file of gzip.
#[cfg(test)]
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    use std::io::Write;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn all(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_come_off_and_a_bomb_does_not_go_off() {
        let packed = gzip(&[b'a'; 100_000]).unwrap();
        assert!(is_gzip(&packed));
        assert_eq!(decode("gzip", &packed, 100_000).unwrap(), vec![b'a'; 100_000]);
        assert_eq!(decode("identity, GZIP", &packed, 100_000).unwrap().len(), 100_000);
        assert_eq!(decode("gzip", &packed, 99_999), None);
        assert_eq!(decode("zstd", &packed, 100_000), None);
        assert_eq!(decode("br", &packed, 100_000), None);
        assert_eq!(decode("gzip", b"no", 100_000), None);
    }
}
