//! The part of HTTP/1.1 that a load generator and its upstream need. It reads only the length from
//! a head, and skips bodies.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;

use memchr::{memchr, memmem};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Room for a head and the beginning of a body.
pub(crate) const ROOM: usize = 16 * 1024;
const AT_ONCE: usize = 1 << 20;
/// Linux: the kernel discards received bytes instead of copying them.
const MSG_TRUNC: i32 = 0x20;

thread_local! {
    static UNTOUCHED: RefCell<Box<[MaybeUninit<u8>]>> = RefCell::new(Box::new_uninit_slice(AT_ONCE));
}

/// A stream of messages.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Discards this many bytes.
    async fn discard(&mut self, left: u64) -> io::Result<()>;
}

impl Io for TcpStream {
    /// Discards without a copy: load and upstream share one core, which must not be the bottleneck.
    async fn discard(&mut self, mut left: u64) -> io::Result<()> {
        while left > 0 {
            let most = left.min(AT_ONCE as u64) as usize;
            let take = || {
                UNTOUCHED.with(|room| {
                    SockRef::from(&*self).recv_with_flags(&mut room.borrow_mut()[..most], MSG_TRUNC)
                })
            };
            match self.async_io(Interest::READABLE, take).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => left -= taken as u64,
            }
        }
        Ok(())
    }
}

impl Io for TlsStream<TcpStream> {
    async fn discard(&mut self, mut left: u64) -> io::Result<()> {
        let mut room = vec![0; ROOM];
        while left > 0 {
            let most = left.min(ROOM as u64) as usize;
            match self.read(&mut room[..most]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => left -= taken as u64,
            }
        }
        Ok(())
    }
}

/// A head, and how much of the body was read together with it.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// The offset of the body in the buffer.
    pub(crate) end: usize,
    /// The number of filled bytes in the buffer.
    pub(crate) filled: usize,
    /// The announced length of the body; 0 if none is.
    pub(crate) length: u64,
}

impl Head {
    /// The number of body bytes that have not been read yet.
    pub(crate) fn left(self) -> u64 {
        let read = (self.filled - self.end) as u64;
        assert!(read <= self.length, "{read} bytes of a body of {}", self.length);
        self.length - read
    }
}

/// Reads a head. `None` if the peer ended the connection instead.
pub(crate) async fn head<S: Io>(stream: &mut S, buffer: &mut [u8]) -> io::Result<Option<Head>> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        if let Some(at) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
            return Ok(Some(Head { end: at + 4, filled, length: length(&buffer[..at + 2]) }));
        }
    }
}

fn length(head: &[u8]) -> u64 {
    let value = field(head, b"content-length:");
    value.map_or(0, |value| String::from_utf8_lossy(value).trim().parse().expect("a length"))
}

/// The value of a field. `name` is in lower case and ends with the colon.
pub(crate) fn field<'a>(mut head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    while let Some(end) = memchr(b'\n', head) {
        let line = &head[..end];
        if line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) {
            return Some(&line[name.len()..]);
        }
        head = &head[end + 1..];
    }
    None
}
