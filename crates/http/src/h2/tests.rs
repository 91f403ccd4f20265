//! Slow readers, in paused time.

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::{Drain, RequestRejection};

const BODY: usize = 4 << 20;

struct Large;

impl Handler for Large {
    type Body = Full<Bytes>;

    const DATE: bool = false;

    async fn handle(&self, _: Request<Incoming>) -> Result<Response<Self::Body>, Abort> {
        Ok(Response::new(Full::from(vec![b'x'; BODY])))
    }

    fn reject(&self, _: RequestRejection) -> Response<Self::Body> {
        Response::new(Full::default())
    }
}

/// A client with endless windows that has requested `/`.
async fn asking(client: &mut DuplexStream) {
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    client.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]).await.unwrap();
    client.write_all(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let block = [&[0x82, 0x86, 0x84, 0x41, 1][..], b"a"].concat();
    client.write_all(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]).await.unwrap();
    client.write_all(&block).await.unwrap();
}

/// Reads 16 KiB a second, and returns the number of bytes read.
async fn read_slowly(client: &mut DuplexStream) -> usize {
    let (mut all, mut piece) = (0, vec![0; 16 * 1024]);
    while all < BODY {
        match client.read(&mut piece).await {
            Ok(count) if count > 0 => all += count,
            _ => break,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_and_steadily_gets_all_and_so_it_does_in_a_drain() {
    for draining in [false, true] {
        let (near, mut client) = duplex(1 << 20);
        let (drain, signal) = Drain::new();
        let local = tokio::task::LocalSet::new();
        let serving = local.run_until(connection(near, Limits::default(), signal, Large));
        let reading = async {
            asking(&mut client).await;
            client.read_exact(&mut [0; 9]).await.unwrap();
            if draining {
                drain.begin();
            }
            let all = read_slowly(&mut client).await;
            drop(client);
            all
        };
        let (all, ()) = tokio::join!(reading, serving);
        assert!(all >= BODY, "{all} bytes, draining: {draining}");
    }
}
