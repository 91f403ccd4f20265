//! What the simulator costs: how long from the start to the first answer, and how many requests a second one core
//! answers, over sockets and without. `cargo bench --bench simulator`; some seconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use vbc_proxy::Simulator;

const PATH: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
/// Requests on their way at once, on each of the connections.
const PIPELINED: usize = 32;
const CONNECTIONS: usize = 4;
/// How an answer in chunks ends.
const LAST: &[u8] = b"\r\n0\r\n\r\n";
const FOR: Duration = Duration::from_secs(5);

fn main() {
    let starts: Vec<Duration> = (0..20).map(|_| start_to_first_answer()).collect();
    let worst = starts.iter().max().unwrap();
    let sum: Duration = starts.iter().sum();
    println!("start to first answer:  {:?} on average, {worst:?} at worst", sum / 20);
    println!(
        "over sockets:           {:.0} requests a second (one core serves, another asks)",
        over_sockets()
    );
    println!("without sockets:        {:.0} requests a second", without_sockets());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A simulator on one thread, which ends with the sender.
fn serve() -> (Simulated, SocketAddr, String) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            let sim = Simulator::start().await.unwrap();
            let token = log_in(&sim).await;
            tell.send((sim.address(), token)).unwrap();
            let _ = stopped.await;
        });
    });
    let (address, token) = told.recv().unwrap();
    (Simulated { stop: Some(stop), thread: Some(thread) }, address, token)
}

struct Simulated {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn log_in(sim: &Simulator) -> String {
    let login = "grant_type=password&username=alice@vbc.prod&password=sim-password\
                 &client_id=sim-client&client_secret=sim-secret";
    let request = Request::post("/token").body(Bytes::from(login)).unwrap();
    let answer = sim.service().answer(request).await.unwrap();
    let members: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    members["access_token"].as_str().unwrap().to_owned()
}

fn head(token: &str) -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// The runtime included: what a test pays.
fn start_to_first_answer() -> Duration {
    let begun = Instant::now();
    let (sim, address, token) = serve();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head(&token).as_bytes()).unwrap();
    let mut room = [0; 12];
    stream.read_exact(&mut room).unwrap();
    let took = begun.elapsed();
    assert_eq!(&room, b"HTTP/1.1 200");
    drop(stream);
    drop(sim);
    took
}

fn over_sockets() -> f64 {
    let (_sim, address, token) = serve();
    let batch = head(&token).repeat(PIPELINED);
    let mut streams: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut room = vec![0; 1 << 20];
    let (begun, mut answered) = (Instant::now(), 0_usize);
    while begun.elapsed() < FOR {
        for stream in &mut streams {
            stream.write_all(batch.as_bytes()).unwrap();
        }
        for stream in &mut streams {
            let (mut seen, mut kept) = (0, 0);
            while seen < PIPELINED {
                let read = stream.read(&mut room[kept..]).unwrap();
                assert!(read > 0);
                let end = kept + read;
                // The last chunk of each answer, which may be torn between two reads.
                seen += room[..end].windows(LAST.len()).filter(|window| *window == LAST).count();
                kept = end.min(LAST.len() - 1);
                room.copy_within(end - kept..end, 0);
            }
            answered += seen;
        }
    }
    answered as f64 / begun.elapsed().as_secs_f64()
}

fn without_sockets() -> f64 {
    runtime().block_on(async {
        let sim = Simulator::start().await.unwrap();
        let (service, token) = (sim.service(), log_in(&sim).await);
        let (begun, mut answered) = (Instant::now(), 0_u32);
        while begun.elapsed() < FOR {
            let request = Request::get(PATH).header("authorization", format!("Bearer {token}"));
            let answer = service.answer(request.body(Bytes::new()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), 200);
            answered += 1;
        }
        f64::from(answered) / begun.elapsed().as_secs_f64()
    })
}
