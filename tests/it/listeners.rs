//! Several listening addresses, and unix sockets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use vbc_proxy::app::Ended;
use vbc_proxy::config::ListenAddress;
use vbc_proxy::{App, Simulator};

use crate::harness::{Client, RawUpstream, World, WorldBuilder, tunnel_to_unix};

fn listening(socket: &Path, more: &str) -> WorldBuilder {
    World::builder()
        .config(&format!("listen.address = [\"127.0.0.1:0\", \"unix:{}\"{more}]", socket.display()))
}

#[tokio::test]
async fn every_address_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let upstream = RawUpstream::ok().await;
    let builder = listening(&path, ", \"[::1]:0\"").upstream(upstream.url());
    let sim = Simulator::start().await.unwrap();
    let app = App::bind(builder.configuration(&sim)).await.unwrap();
    let addresses = app.addresses().to_vec();
    let [ListenAddress::Tcp(four), ListenAddress::Unix(unix), ListenAddress::Tcp(six)] = &addresses[..]
    else {
        panic!("{addresses:?}")
    };
    assert_eq!(app.name(), format!("http://{four} and unix:{} and http://{six}", unix.display()));
    let (four, six) = (*four, *six);
    let run = tokio::spawn(async move {
        let served = async {
            for address in [four, tunnel_to_unix(&path).await, six] {
                let mut client = Client::connect(address).await;
                // Every name of the proxy is accepted on every listener.
                for host in ["localhost".to_owned(), four.to_string(), six.to_string()] {
                    client.request(&format!("GET / HTTP/1.1\nHost: {host}"), b"").await;
                    assert_eq!(client.response().await.text(), "ok");
                }
                client.request("GET / HTTP/1.1\nHost: vbc.internal", b"").await;
                client.response().await.assert_problem(421, "http_request_denied");
            }
        };
        let ended = app.run(served).await.unwrap();
        (ended, path.exists())
    });
    assert_eq!(run.await.unwrap(), (Ended::Drained, false));
    assert_eq!(upstream.requests().len(), 9);
}

#[tokio::test]
async fn a_unix_socket_is_shared_by_all_threads_and_its_file_is_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let upstream = RawUpstream::ok().await;
    let mut world = listening(&path, "")
        .config("listen.workers = 3")
        .config("listen.unix_mode = \"0660\"")
        .upstream(upstream.url())
        .start()
        .await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let tunnel = tunnel_to_unix(&path).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = Client::connect(tunnel).await;
        client.request("GET / HTTP/1.1", b"").await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "ok");
    }
    world.begin_drain();
    for client in &mut clients {
        client.closed().await;
    }
    assert_eq!(world.ended().await, Ended::Drained);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_proxy_with_a_unix_socket_alone_serves_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let world =
        World::builder().config(&format!("listen.address = \"unix:{}\"", path.display())).start().await;
    world.ready().await;
    assert_eq!(world.admin("/status.json").await.json()["listen"], format!("unix:{}", path.display()));
    let mut client = Client::connect(tunnel_to_unix(&path).await).await;
    client.request("GET /t/vbc.prod/provisioning/v1/api/accounts/12345 HTTP/1.1", b"").await;
    assert!(client.response().await.header("proxy-status").is_none());
}

#[tokio::test]
async fn a_unix_socket_in_use_ends_the_start_and_names_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let _world = listening(&path, "").start().await;
    let sim = Simulator::start().await.unwrap();
    let error = App::bind(listening(&path, "").configuration(&sim)).await.err().unwrap().to_string();
    assert!(error.contains("(listen.address)") && error.contains("another process is using it"), "{error}");
    assert!(path.exists());
}
