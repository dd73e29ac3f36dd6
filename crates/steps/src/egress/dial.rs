//! Connections that speak something else than HTTP: opened here, to an address that was checked.
//!
//! Invariants: a name is looked up once, and what is connected to is an address of that answer; a line gives no more
//! bytes than it was opened for, whatever the other side sends.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{Egress, EgressError};

/// Bytes that a line gives before it breaks off: some certificates and a few answers. Who reads line by line may look at all of
/// them again for each line, so more would keep this process busy.
const LINE_BYTES_MAX: usize = 32 << 10;

/// A connection to the outside world, encrypted or not.
pub struct Line {
    stream: Box<dyn Duplex>,
    peer: SocketAddr,
    bytes_left: usize,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

impl Egress {
    /// Opens a connection to a host, named or by its address.
    ///
    /// # Errors
    /// One of its addresses may not be reached, or none of them answers in time.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Line, EgressError> {
        let shown = || format!("{host}:{port}");
        let none = |reason: String| EgressError::Connect { host: shown(), reason };
        let bare = bare(host);
        let open = async {
            let addresses: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
                Ok(address) => vec![SocketAddr::new(address, port)],
                Err(_) => {
                    let found = tokio::net::lookup_host((bare, port)).await;
                    found.map_err(|error| none(error.to_string()))?.collect()
                }
            };
            for it in &addresses {
                let checked = self.private_network.check(it.ip());
                checked.map_err(|refused| EgressError::Refused { host: shown(), refused })?;
            }
            let mut reason = "its name has no address".to_owned();
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(Line::over(stream, address)),
                    Err(error) => reason = error.to_string(),
                }
            }
            Err(none(reason))
        };
        let opened = tokio::time::timeout(self.shared.options.connect_timeout, open).await;
        opened.unwrap_or_else(|_| Err(none("it did not answer in time".to_owned())))
    }

    /// TLS as this client speaks it, for what is no HTTP.
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.shared.tls)
    }

    /// Certificates that are trusted beside the well-known authorities.
    pub fn extra_roots(&self) -> &[CertificateDer<'static>] {
        &self.shared.options.extra_roots
    }
}

impl Line {
    fn over(stream: impl Duplex + 'static, peer: SocketAddr) -> Line {
        Line { stream: Box::new(stream), peer, bytes_left: LINE_BYTES_MAX }
    }

    /// The same encrypted, once the other side has shown a certificate for that name.
    ///
    /// # Errors
    /// The name is none, the certificate is not for it, or the other side speaks no TLS.
    pub async fn encrypted(self, host: &str, config: Arc<ClientConfig>) -> io::Result<Line> {
        let peer = self.peer;
        let name = ServerName::try_from(bare(host).to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, self).await?;
        Ok(Line::over(stream, peer))
    }

    /// The address at its other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// A host as it is resolved: an IPv6 address stands in brackets where a port may follow.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host)
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.peer).finish()
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes_left == 0 {
            let message = format!("the other side sent more than {LINE_BYTES_MAX} bytes");
            return Poll::Ready(Err(io::Error::other(message)));
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        self.bytes_left = self.bytes_left.saturating_sub(into.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
