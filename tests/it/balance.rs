//! Client connections are spread evenly over the threads, and no handover between threads loses
//! one.

use vbc_proxy::app::Ended;
use vbc_proxy::{App, Simulator};

use crate::harness::{Client, RawUpstream, World, tunnel_to_unix, within};

/// The number of connections of each thread, from `/metrics`.
async fn loads(world: &World, workers: usize) -> Vec<i64> {
    let metrics = world.admin("/metrics").await;
    let load = |worker| metrics.metric(&format!("vbc_proxy_worker_connections_open{{worker=\"{worker}\"}}"));
    (0..workers).map(|worker| load(worker).unwrap() as i64).collect()
}

fn apart(loads: &[i64]) -> i64 {
    loads.iter().max().unwrap() - loads.iter().min().unwrap()
}

async fn world(upstream: &RawUpstream, workers: usize) -> World {
    World::builder().upstream(upstream.url()).config(&format!("listen.workers = {workers}")).start().await
}

#[tokio::test]
async fn connections_opened_one_after_another_are_spread_evenly() {
    let upstream = RawUpstream::ok().await;
    for workers in [2, 4] {
        for count in [64, 100] {
            let world = world(&upstream, workers).await;
            let mut clients = Vec::new();
            for _ in 0..count {
                let mut client = world.connect().await;
                assert_eq!(client.try_get("/").await.unwrap().text(), "ok");
                clients.push(client);
            }
            let loads = loads(&world, workers).await;
            assert_eq!(loads.iter().sum::<i64>(), count);
            // A thread keeps a little more than its share: 33 is close enough to 31.
            let least = loads.iter().min().unwrap();
            assert!(apart(&loads) <= 1 + least / 16, "{count} connections: {loads:?}");
        }
    }
}

#[tokio::test]
async fn a_few_connections_share_a_thread_and_its_pool() {
    let upstream = RawUpstream::ok().await;
    let world = world(&upstream, 4).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = world.connect().await;
        assert_eq!(client.try_get("/").await.unwrap().text(), "ok");
        clients.push(client);
    }
    assert_eq!(apart(&loads(&world, 4).await), 6);
    // All requests used one upstream connection, which belongs to a single thread.
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn connections_opened_at_once_are_spread_evenly() {
    let upstream = RawUpstream::ok().await;
    for workers in [2, 4] {
        let world = world(&upstream, workers).await;
        let opening = (0..64).map(|_| async {
            let mut client = world.connect().await;
            assert_eq!(client.try_get("/").await.unwrap().text(), "ok");
            client
        });
        let _clients = futures_util::future::join_all(opening).await;
        let loads = loads(&world, workers).await;
        assert_eq!(loads.iter().sum::<i64>(), 64);
        // Threads that accept at the same moment may choose the same target.
        assert!(apart(&loads) <= 2 + workers as i64, "{loads:?}");
    }
}

#[tokio::test]
async fn connections_of_a_unix_socket_are_spread_evenly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let upstream = RawUpstream::ok().await;
    let world = World::builder()
        .upstream(upstream.url())
        .config(&format!("listen.address = \"unix:{}\"", path.display()))
        .config("listen.workers = 3")
        .start()
        .await;
    let tunnel = tunnel_to_unix(&path).await;
    let mut clients = Vec::new();
    for _ in 0..36 {
        let mut client = Client::connect(tunnel).await;
        assert_eq!(client.try_get("/").await.unwrap().text(), "ok");
        clients.push(client);
    }
    assert_eq!(loads(&world, 3).await, [12, 12, 12]);
}

#[tokio::test]
async fn a_drain_loses_no_connection_that_is_handed_over() {
    let upstream = RawUpstream::ok().await;
    let sim = Simulator::start().await.unwrap();
    let builder = World::builder().upstream(upstream.url()).config("listen.workers = 4");
    for _ in 0..10 {
        let app = App::bind(builder.configuration(&sim)).await.unwrap();
        let (address, metrics) = (app.address().unwrap(), app.metrics());
        let mut clients = Vec::new();
        let opened = async {
            // When the drain starts, some connections are served, some are being handed over, and
            // some are still in the kernel's queue.
            for _ in 0..64 {
                let mut client = Client::connect(address).await;
                client.request("GET / HTTP/1.1", b"").await;
                clients.push(client);
            }
        };
        assert_eq!(within(app.run(opened)).await.unwrap(), Ended::Drained);
        assert!(metrics.handed_over.get() >= 8);
        for mut client in clients {
            let response = client.response().await;
            assert!(matches!(response.status, 200 | 503), "{response:?}");
            // The connection ends without a reset.
            assert_eq!(client.ended().await, b"");
        }
        assert_eq!(metrics.connections.get(), 0);
    }
}
