//! Tests in which only one worker accepts, so that the handovers are predictable.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Worker;
use crate::app::balance::Balance;
use crate::app::{App, Ended};
use crate::config::Config;
use crate::metrics::Metrics;
use vbc_http::Drain;
use vbc_simulator::Simulator;

const REQUEST: &[u8] = b"GET /t/vbc.prod/x HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A proxy in which only the first thread listens.
async fn lopsided(sim: &Simulator, workers: usize, lines: &str) -> App {
    let url = sim.url();
    let text = format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = {workers}\nadmin.address = \"off\"\nupstream.url = \"{url}\"\n\
         oauth.token_url = \"{url}/token\"\nstore.kind = \"memory\"\ncredentials.default.client_id = \"sim-client\"\n\
         credentials.default.client_secret = \"sim-secret\"\ncredentials.default.username = \"alice\"\n\
         credentials.default.password = \"sim-password\"\n{lines}"
    );
    let config = Config::from_toml(&text).map_err(|findings| findings.to_string()).unwrap().config;
    let mut app = App::bind(config).await.unwrap();
    app.sockets.iter_mut().skip(1).for_each(Vec::clear);
    app
}

/// Opens connections. They wait in the kernel's queue until the proxy runs.
async fn connections(app: &App, count: usize) -> Vec<TcpStream> {
    let address = app.address().unwrap();
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(TcpStream::connect(address).await.unwrap());
    }
    connections
}

/// The status of a response that arrives in one piece.
async fn status(connection: &mut TcpStream) -> String {
    let mut response = [0; 4096];
    let read = connection.read(&mut response).await.unwrap();
    String::from_utf8_lossy(&response[..read]).split(' ').nth(1).unwrap_or("no response").to_owned()
}

fn loads(metrics: &Metrics, workers: usize) -> Vec<i64> {
    (0..workers).map(|worker| metrics.load(worker).get()).collect()
}

#[tokio::test]
async fn one_thread_accepts_and_all_serve() {
    let sim = Simulator::start().await.unwrap();
    for (workers, count, expected) in
        [(1, 3, vec![3]), (2, 4, vec![4, 0]), (2, 8, vec![6, 2]), (2, 64, vec![33, 31]), (4, 64, vec![16; 4])]
    {
        let app = lopsided(&sim, workers, "").await;
        let (metrics, mut clients) = (app.metrics(), connections(&app, count).await);
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        for client in &mut clients {
            client.write_all(REQUEST).await.unwrap();
            assert_ne!(status(client).await, "no response");
        }
        assert_eq!(loads(&metrics, workers), expected);
        assert_eq!(metrics.connections.get(), count as i64);
        let elsewhere: i64 = expected.iter().skip(1).sum();
        assert_eq!(metrics.handed_over.get(), elsewhere as u64);
        stop.send(()).unwrap();
        for client in &mut clients {
            assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        }
        assert_eq!(run.await.unwrap().unwrap(), Ended::Drained);
        assert_eq!((loads(&metrics, workers), metrics.connections.get()), (vec![0; workers], 0));
    }
}

#[tokio::test]
async fn what_is_handed_over_in_a_drain_gets_a_response() {
    let sim = Simulator::start().await.unwrap();
    for _ in 0..20 {
        let app = lopsided(&sim, 2, "").await;
        let (metrics, mut clients) = (app.metrics(), connections(&app, 16).await);
        for client in &mut clients {
            client.write_all(REQUEST).await.unwrap();
        }
        // The drain begins while the threads start. The second thread has no socket to wait for.
        assert_eq!(app.run(async {}).await.unwrap(), Ended::Drained);
        assert!(metrics.handed_over.get() >= 8, "{}", metrics.handed_over.get());
        for client in &mut clients {
            let status = status(client).await;
            assert!(status == "503" || status == "404", "{status}");
            assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn one_that_is_handed_over_is_admitted_once_and_gives_its_slot_back() {
    let sim = Simulator::start().await.unwrap();
    let app = lopsided(&sim, 2, "listen.max_connections = 7\n").await;
    let (metrics, address) = (app.metrics(), app.address().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut clients = connections(&app, 7).await;
    let run = tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    for client in &mut clients {
        client.write_all(REQUEST).await.unwrap();
        assert_ne!(status(client).await, "503");
    }
    assert_eq!((loads(&metrics, 2), metrics.turned_away.get()), (vec![6, 1], 0));
    let mut one_too_many = TcpStream::connect(address).await.unwrap();
    assert_eq!(status(&mut one_too_many).await, "503");
    // The last admitted connection was handed over.
    drop(clients.pop());
    while metrics.load(1).get() > 0 {
        tokio::task::yield_now().await;
    }
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(REQUEST).await.unwrap();
    assert_ne!(status(&mut next).await, "503");
    stop.send(()).unwrap();
    assert_eq!(run.await.unwrap().unwrap(), Ended::Drained);
    assert_eq!(loads(&metrics, 2), [0, 0]);
}

#[tokio::test]
async fn what_a_thread_that_has_failed_cannot_take_stays_here() {
    let sim = Simulator::start().await.unwrap();
    let mut app = lopsided(&sim, 2, "").await;
    let (metrics, mut clients) = (app.metrics(), connections(&app, 12).await);
    let (drain, signal) = Drain::new();
    let mut workers = Balance::new(2, &metrics);
    drop(workers.pop());
    let (balance, inbox) = workers.pop().unwrap();
    let (sockets, shared, admission) =
        (app.sockets.swap_remove(0), app.shared.clone(), app.limits.clients.clone());
    let ended = Worker { sockets, tls: None, shared, admission, signal, balance, inbox }.start(0).unwrap();
    for client in &mut clients {
        client.write_all(REQUEST).await.unwrap();
        assert_eq!(status(client).await, "404");
    }
    assert_eq!((loads(&metrics, 2), metrics.handed_over.get()), (vec![12, 0], 0));
    drain.begin();
    assert_eq!(ended.await.unwrap(), Ended::Drained);
    assert_eq!(loads(&metrics, 2), [0, 0]);
}
