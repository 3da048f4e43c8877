//! The debug port: faults are set and requests are read here.

use std::sync::Arc;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::Shared;
use super::fault::Fault;
use super::http1::{self, Request};

/// Accepts for ever.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move { converse(stream, &shared).await });
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = http1::read(&mut stream, &mut buffer).await? {
        let (status, body) = answer(&request, shared);
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        stream.write_all(&http1::head(status, &[kind], body.len())).await?;
        stream.write_all(body.as_bytes()).await?;
    }
    Ok(())
}

fn answer(request: &Request, shared: &Shared) -> (u16, String) {
    let json = |value: serde_json::Value| (200, value.to_string());
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/fault") => match parse(&request.body) {
            Ok(faults) => {
                println!("faults: {faults:?}");
                shared.faults().set(faults);
                (200, "{}".to_owned())
            }
            Err(error) => (400, format!("{error}\n")),
        },
        ("DELETE", "/fault") => {
            println!("faults: none");
            shared.faults().set(Vec::new());
            (200, "{}".to_owned())
        }
        ("GET", "/fault") => json(serde_json::json!(shared.faults().list())),
        ("GET", "/requests") => json(serde_json::json!(shared.records.all())),
        ("GET", "/debug/health") => (200, "{}".to_owned()),
        _ => (
            404,
            "POST /fault, DELETE /fault, GET /fault, GET /requests\n".to_owned(),
        ),
    }
}

/// One fault or a list.
fn parse(body: &[u8]) -> serde_json::Result<Vec<Fault>> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return serde_json::from_slice(body);
    }
    Ok(vec![serde_json::from_slice(body)?])
}
