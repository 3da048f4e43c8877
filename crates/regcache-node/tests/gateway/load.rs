//! Many streams at once, slow readers among them.

use std::time::Duration;

use regcache_node::gateway::GatewayLimits;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::cache::Act;
use crate::client::Ending;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_complete_and_slow_readers_stall_nobody() {
    const SIZE: usize = 4 * 1024 * 1024;
    let bench = Bench::with(SIZE, &[Act::Serve, Act::Serve], Vec::new(), GatewayLimits::default()).await;
    let mut streams = JoinSet::new();
    for i in 0..200 {
        let (client, path, blob) = (bench.client.clone(), bench.blob_path(), bench.blob.clone());
        streams.spawn(async move {
            let mut connection = client.connect().await.unwrap();
            connection.send("GET", &path, &[]).await;
            let head = connection.head().await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let mut body = Vec::with_capacity(SIZE);
            if i % 20 == 0 {
                // Longer than a source may stall: it is the reader who does not ask.
                let mut some = vec![0; 10_000];
                connection.0.read_exact(&mut some).await.unwrap();
                body.extend_from_slice(&some);
                sleep(Duration::from_secs(7)).await;
            }
            assert_eq!(connection.body(SIZE, &mut body).await, Ending::Full);
            assert!(body == *blob);
        });
    }
    while let Some(stream) = streams.join_next().await {
        stream.unwrap();
    }
    assert_eq!(bench.outcomes().len(), 200);
    assert!(bench.outcomes().iter().all(|outcome| outcome.as_str() == "ok"));
}
