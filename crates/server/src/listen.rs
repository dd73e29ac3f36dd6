//! The accept loop: connections in, bounded, and a drain at the end.
//!
//! Invariant: after the stop token fires, no new connection is taken, open ones finish the request that they are on,
//! and the loop ends within the grace time.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use futures::FutureExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{auth::Peer, routes::Service};

/// Bounds of the accept loop.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open connections; the next waits in the kernel's queue.
    pub connections_max: usize,
    /// How long the head of a request may take.
    pub head_time_max: Duration,
    /// How long open requests may take once the server stops.
    pub grace: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { connections_max: 10_000, head_time_max: Duration::from_secs(30), grace: Duration::from_secs(30) }
    }
}

/// Where connections come from.
trait Listener: Send {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<Peer>)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<Peer>)> {
        let (stream, peer) = self.accept().await?;
        // Answers are small and whole: waiting for more bytes would only delay them.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(Peer::at(peer.ip().to_canonical()))))
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<Peer>)> {
        Ok((self.accept().await?.0, None))
    }
}

/// Serves until `stop` fires, then drains.
pub async fn serve(listener: TcpListener, service: Service, bounds: Bounds, stop: CancellationToken) {
    Loop { service, bounds, stop }.turn(listener).await;
}

/// The same on a socket in the file system.
pub async fn serve_local(listener: UnixListener, service: Service, bounds: Bounds, stop: CancellationToken) {
    Loop { service, bounds, stop }.turn(listener).await;
}

struct Loop {
    service: Service,
    bounds: Bounds,
    stop: CancellationToken,
}

impl Loop {
    async fn turn<L: Listener>(self, listener: L) {
        let Loop { service, bounds, stop } = self;
        let places = Arc::new(Semaphore::new(bounds.connections_max));
        let connections = TaskTracker::new();
        // Fires when the grace time is over: what is still open is cut.
        let cut = CancellationToken::new();
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { break };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.next() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection { stream, peer, place, service: service.clone(), bounds };
                    connections.spawn(connection.run(stop.clone(), cut.clone()));
                }
                Err(error) => refused(&error).await,
            }
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(bounds.grace, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "the grace time is over: open connections are cut");
            cut.cancel();
            connections.wait().await;
        }
    }
}

/// Out of file descriptors, most likely: it passes when connections close, so we wait instead of spinning.
async fn refused(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Connection<I> {
    stream: I,
    peer: Option<Peer>,
    place: OwnedSemaphorePermit,
    service: Service,
    bounds: Bounds,
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<I> {
    async fn run(self, stop: CancellationToken, cut: CancellationToken) {
        let Connection { stream, peer, place, service, bounds } = self;
        let (service, peer) = (&service, &peer);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer.clone());
            }
            service.answer(request.map(Body::new)).map(Ok::<_, Infallible>)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head_time_max)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(place);
    }
}
