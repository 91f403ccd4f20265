//! Zip files of incompressible content, produced while they are sent (APPNOTE.TXT 6.3; no
//! extensions).

use bytes::{BufMut, Bytes, BytesMut};

use vbc_base::clock::Timestamp;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// The version needed to extract: 1.0.
const VERSION: u16 = 10;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;

/// One file of the archive, and the seed of its content.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) modified: Timestamp,
    /// The length of its content in bytes.
    pub(crate) length: u32,
    pub(crate) seed: u64,
}

/// An iterator over the pieces of a zip file. The file must have less than 4 GiB and fewer than
/// 65,536 entries.
pub(crate) struct Archive<F> {
    entries: std::vec::IntoIter<Entry>,
    /// Makes content of a given length from a seed.
    content: F,
    data: Option<Bytes>,
    directory: BytesMut,
    count: u16,
    offset: u32,
    over: bool,
}

impl<F: Fn(u64, usize) -> Bytes> Archive<F> {
    pub(crate) fn new(entries: Vec<Entry>, content: F) -> Self {
        let entries = entries.into_iter();
        let directory = BytesMut::new();
        Self { entries, content, data: None, directory, count: 0, offset: 0, over: false }
    }

    /// The length of the whole file in bytes.
    pub(crate) fn length(entries: &[Entry]) -> u64 {
        let one = |entry: &Entry| 30 + 46 + 2 * entry.name.len() as u64 + u64::from(entry.length);
        entries.iter().map(one).sum::<u64>() + 22
    }

    fn begin(&mut self, entry: &Entry) -> Bytes {
        let data = (self.content)(entry.seed, entry.length as usize);
        let mut fields = BytesMut::new();
        let (time, date) = dos(entry.modified);
        for field in [VERSION, FLAGS, 0, time, date] {
            fields.put_u16_le(field);
        }
        for field in [crc32(&data), entry.length, entry.length] {
            fields.put_u32_le(field);
        }
        fields.put_u16_le(u16::try_from(entry.name.len()).unwrap_or(u16::MAX));
        fields.put_u16_le(0);
        let mut local = BytesMut::new();
        local.put_u32_le(LOCAL);
        local.extend_from_slice(&fields);
        local.extend_from_slice(entry.name.as_bytes());
        self.directory.put_u32_le(CENTRAL);
        self.directory.put_u16_le(VERSION);
        self.directory.extend_from_slice(&fields);
        // The length of the comment, the disk and the attributes are all zero.
        self.directory.put_bytes(0, 2 + 2 + 2 + 4);
        self.directory.put_u32_le(self.offset);
        self.directory.extend_from_slice(entry.name.as_bytes());
        self.count = self.count.saturating_add(1);
        self.offset = self.offset.saturating_add(local.len() as u32).saturating_add(entry.length);
        self.data = Some(data);
        local.freeze()
    }

    fn end(&mut self) -> Bytes {
        let mut end = std::mem::take(&mut self.directory);
        let length = u32::try_from(end.len()).unwrap_or(u32::MAX);
        end.put_u32_le(END);
        for field in [0, 0, self.count, self.count] {
            end.put_u16_le(field);
        }
        end.put_u32_le(length);
        end.put_u32_le(self.offset);
        end.put_u16_le(0);
        end.freeze()
    }
}

impl<F: Fn(u64, usize) -> Bytes> Iterator for Archive<F> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(data) = self.data.take() {
            return Some(data);
        }
        if let Some(entry) = self.entries.next() {
            return Some(self.begin(&entry));
        }
        (!std::mem::replace(&mut self.over, true)).then(|| self.end())
    }
}

/// The CRC-32 that zip files use. It is computed a byte at a time.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, byte| CRC[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// The remainder for each value of a byte.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (0xedb8_8320 & (remainder & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// Time and date in the format of DOS, in UTC. It can express the years 1980 to 2107.
fn dos(at: Timestamp) -> (u16, u16) {
    let at = jiff::tz::TimeZone::UTC.to_datetime(at);
    let field = |value: i8| u16::try_from(value).unwrap_or(0);
    let years = u16::try_from(at.year() - 1980).unwrap_or(0).min(127);
    let two_seconds = field(at.second()) / 2;
    let time = (field(at.hour()) << 11) | (field(at.minute()) << 5) | two_seconds;
    (time, (years << 9) | (field(at.month()) << 5) | field(at.day()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let entry = |name: &str, length| Entry {
            name: name.into(),
            modified: "2026-09-05T16:30:10Z".parse().unwrap(),
            length,
            seed: u64::from(b'x'),
        };
        let entries = vec![entry("a.txt", 3), entry("b", 0)];
        let length = Archive::<fn(u64, usize) -> Bytes>::length(&entries);
        let pieces = Archive::new(entries, |seed, length| Bytes::from(vec![seed as u8; length]));
        let whole: Vec<u8> = pieces.flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(whole.len() as u64, length);
        assert_eq!(whole[..4], *b"PK\x03\x04");
        // The checksum of "xxx", computed another way.
        assert_eq!(u32::from_le_bytes(whole[14..18].try_into().unwrap()), crc(b"xxx"));
        assert_eq!(&whole[30..38], b"a.txtxxx");
        let (time, date) = dos("2026-09-05T16:30:10Z".parse().unwrap());
        assert_eq!((time, date), (33_733, 23_845));
        let end = &whole[whole.len() - 22..];
        assert_eq!(end[..4], *b"PK\x05\x06");
        assert_eq!(u16::from_le_bytes([end[10], end[11]]), 2);
        let at = u32::from_le_bytes(end[16..20].try_into().unwrap()) as usize;
        assert_eq!(whole[at..at + 4], *b"PK\x01\x02");
    }

    /// Computes the CRC bit by bit, as its standard defines it.
    fn crc(data: &[u8]) -> u32 {
        !data.iter().fold(!0_u32, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }
}
