//! Removes content codings: a compressed body cannot be searched for secrets.

use std::io::Read;

/// Decodes a body, up to `most` bytes. `None` if it is longer, broken, or in an unknown coding.
pub(crate) fn decode(codings: &str, body: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut bytes = body.to_vec();
    // Codings are listed in the order in which they were applied (RFC 9110 §8.4).
    for coding in codings.split(',').rev() {
        bytes = match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => bytes,
            "gzip" | "x-gzip" => read_all(flate2::read::MultiGzDecoder::new(&*bytes), most)?,
            // Some senders send the bare stream, against RFC 9110 §8.4.1.2.
            "deflate" => {
                read_all(flate2::read::ZlibDecoder::new(&*bytes), most).or_else(|| inflate(&bytes, most))?
            }
            _ => return None,
        };
    }
    Some(bytes)
}

/// Decodes a bare deflate stream, up to `most` bytes.
pub(crate) fn inflate(bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    read_all(flate2::read::DeflateDecoder::new(bytes), most)
}

/// Whether bytes start like a gzip file.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// Compresses bytes to a gzip file.
#[cfg(test)]
pub(crate) fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn read_all(decoder: impl Read, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= most).then_some(bytes)
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
