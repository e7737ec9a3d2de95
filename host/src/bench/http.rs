//! HTTP clients, and a server that answers what it is sent: what HTTP costs without a host.

use std::{future::poll_fn, net::SocketAddr, pin::Pin, sync::Arc};

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinHandle,
};

use super::hosts::DEPOSIT;
use crate::address::Address;

/// One connection, used by one client.
pub struct Connection(SendRequest<String>);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn open(at: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its end is seen by the next request.
            let _ = connection.await;
        });
        Ok(Self(sender))
    }

    /// Posts a body and reads the answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send(&mut self, path: &str, body: &str) -> Result<(StatusCode, Bytes)> {
        let request = Request::post(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(body.to_owned())?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        Ok((response.status(), collect(response.into_body()).await?))
    }

    /// Posts a body that must be answered with 200.
    ///
    /// # Errors
    /// If it is not.
    pub async fn post(&mut self, path: &str, body: &str) -> Result<Bytes> {
        let (status, answer) = self.send(path, body).await?;
        if status != StatusCode::OK {
            bail!("POST {path}: {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }
}

async fn collect(mut body: Incoming) -> Result<Bytes> {
    let mut read = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

/// A connection for each client.
#[derive(Clone)]
pub struct Connections(Arc<[Mutex<Connection>]>);

impl Connections {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn open(at: SocketAddr, count: usize) -> Result<Self> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Mutex::new(Connection::open(at).await?));
        }
        Ok(Self(all.into()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Posts over the connection of `client`.
    ///
    /// # Errors
    /// As [`Connection::post`].
    pub async fn post(&self, client: usize, path: &str, body: &str) -> Result<Bytes> {
        let connection = self.0.get(client).context("each client has a connection")?;
        connection.lock().await.post(path, body).await
    }

    /// Sends the command that is measured.
    ///
    /// # Errors
    /// If it is not done.
    pub async fn deposit(&self, client: usize, to: &Address) -> Result<()> {
        self.post(client, &format!("/v1/{to}/deposit"), DEPOSIT).await.map(drop)
    }
}

/// A server that answers each request with its own body.
pub struct Echo {
    /// Where it listens.
    pub at: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Echo {
    /// Listens on a free port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let answer = service_fn(|request: Request<Incoming>| async {
                    let body = collect(request.into_body()).await?;
                    anyhow::Ok(Response::new(String::from_utf8_lossy(&body).into_owned()))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(Self { at, accepting })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
