//! How connections end: by FIN whatever happens, and with a grace for running bodies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::bench::{Bench, limits};
use crate::cache::Act;
use crate::client::{Client, Ending};

const LARGE: usize = 3_000_000;
const HALF: usize = 1_500_000;

#[tokio::test]
async fn short_body_ends_by_fin_even_with_unread_input() {
    for act in [Act::StallAt(HALF), Act::EndAt(HALF), Act::ResetAt(HALF), Act::Corrupt] {
        let bench = Bench::start(LARGE, &[act]).await;
        let mut connection = bench.client.connect().await.unwrap();
        connection.send("GET", &bench.blob_path(), &[]).await;
        connection.head().await;
        // Input that the gateway has no reason to read: closing over it would be an RST.
        for _ in 0..50 {
            connection
                .send("GET", &bench.blob_path(), &[("X-Padding", &"x".repeat(2000))])
                .await;
        }
        let mut body = Vec::new();
        assert_eq!(connection.body(LARGE, &mut body).await, Ending::Fin);
        assert!(body.len() < LARGE && !body.is_empty());
        // After the end of TLS the socket itself is at its end too, and not in error.
        assert_eq!(connection.socket_end().await, Ending::Fin);
    }
}

#[tokio::test]
async fn refused_upload_ends_without_rst() {
    let bench = Bench::start(1000, &[Act::Serve]).await;
    let mut connection = bench.client.connect().await.unwrap();
    let path = "/v2/library/app/blobs/uploads/?ns=docker.io";
    connection.send("POST", path, &[("Content-Length", "500000")]).await;
    connection.0.write_all(&vec![0; 500_000]).await.unwrap();
    assert_eq!(connection.answer("POST").await.status, 405);
    connection.0.shutdown().await.unwrap();
    assert_eq!(connection.socket_end().await, Ending::Fin);
}

#[tokio::test]
async fn shutdown_lets_bodies_finish_and_refuses_new_connections() {
    let go = Arc::new(Semaphore::new(0));
    let mut bench = Bench::start(LARGE, &[Act::HoldAt(HALF, go.clone())]).await;
    let mut connection = bench.client.connect().await.unwrap();
    connection.send("GET", &bench.blob_path(), &[]).await;
    connection.head().await;
    let idle = bench.client.connect().await.unwrap();
    bench.shutdown.cancel();
    // The idle one ends at once; by then the port is free too.
    assert_eq!(
        timeout(Duration::from_secs(2), idle.socket_end()).await.unwrap(),
        Ending::Fin
    );
    assert!(bench.client.connect().await.is_err());
    assert!(
        timeout(Duration::from_millis(50), &mut bench.serving).await.is_err(),
        "a body still runs"
    );
    go.add_permits(1);
    let mut body = Vec::new();
    assert_eq!(connection.body(LARGE, &mut body).await, Ending::Full);
    assert!(body == *bench.blob);
    drop(connection);
    timeout(Duration::from_secs(2), bench.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn body_that_outlasts_the_grace_ends_by_fin() {
    let mut long = limits();
    long.transfer.stall = Duration::from_secs(60);
    long.transfer.gap = Duration::from_secs(60);
    let bench = Bench::with(LARGE, &[Act::StallAt(HALF)], Vec::new(), long).await;
    let mut connection = bench.client.connect().await.unwrap();
    connection.send("GET", &bench.blob_path(), &[]).await;
    connection.head().await;
    bench.shutdown.cancel();
    let begun = Instant::now();
    let mut body = Vec::new();
    assert_eq!(connection.body(LARGE, &mut body).await, Ending::Fin);
    assert!(
        begun.elapsed() + Duration::from_millis(50) >= long.grace,
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(connection.socket_end().await, Ending::Fin);
    timeout(Duration::from_secs(5), bench.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn client_that_stops_reading_does_not_hold_up_the_end() {
    let bench = Bench::start(30_000_000, &[Act::Serve]).await;
    let mut connection = bench.client.connect().await.unwrap();
    connection.send("GET", &bench.blob_path(), &[]).await;
    connection.head().await;
    bench.shutdown.cancel();
    timeout(Duration::from_secs(5), bench.serving).await.unwrap().unwrap();
    let mut body = Vec::new();
    assert_eq!(connection.body(30_000_000, &mut body).await, Ending::Fin);
    assert!(body[..] == bench.blob[..body.len()]);
}

#[tokio::test]
async fn client_that_goes_away_ends_the_request_to_the_cache() {
    let bench = Bench::start(LARGE, &[Act::StallAt(HALF)]).await;
    let mut connection = bench.client.connect().await.unwrap();
    connection.send("GET", &bench.blob_path(), &[]).await;
    connection.head().await;
    drop(connection);
    let counted = async {
        while !bench.metrics().contains("result=\"hung_up\"} 1") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(2), counted).await.unwrap();
    assert_eq!(bench.outcomes(), [], "says nothing about the cache");
    assert_eq!(
        bench.client.get(&bench.blob_path()).await.status,
        200,
        "nor about the digest"
    );
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_the_others_go_on() {
    let mut few = limits();
    few.connections = 2;
    let bench = Bench::with(1000, &[Act::Serve], Vec::new(), few).await;
    let mut first = bench.client.connect().await.unwrap();
    let _second = bench.client.connect().await.unwrap();
    let begun = Instant::now();
    assert!(bench.client.connect().await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1));
    first.send("GET", &bench.blob_path(), &[]).await;
    assert_eq!(first.answer("GET").await.status, 200);
}

#[tokio::test]
async fn somebody_without_our_ca_is_told_apart_by_it() {
    let bench = Bench::start(1000, &[Act::Serve]).await;
    let other = Bench::start(1000, &[Act::Serve]).await;
    let ours = bench.client.connect().await.unwrap();
    let port = ours.0.get_ref().0.peer_addr().unwrap();
    let ca = regcache_node::gateway::LoopbackIdentity::generate().unwrap().ca_pem;
    assert!(
        Client::new(port, &ca).connect().await.is_err(),
        "a gateway with another key is not believed"
    );
    drop(other);
    // And plain text on the port is an end, not a hang.
    let mut plain = tokio::net::TcpStream::connect(port).await.unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(2), plain.read_to_end(&mut rest)).await;
    assert!(read.is_ok());
}
