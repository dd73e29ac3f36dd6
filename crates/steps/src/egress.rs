//! The one HTTP client, and the one way to open any other connection: whatever leaves this process for the outside world
//! goes through here.
//!
//! Invariant: a connection is opened only to an address that was checked. Literal addresses are checked before each
//! request, names by the resolver that the connection itself uses, so there is no second lookup that could answer
//! otherwise; redirects are followed here, one checked request at a time. Environment proxies are not used.

pub mod address;
mod authorities;
mod dial;
mod error;
mod redirect;
mod tenants;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use address::PrivateNetwork;
pub use authorities::{Authorities, BadAuthorities};
pub use dial::Line;
use error::translate;
pub use error::{EgressError, EgressFailure};
use reqwest::{
    Client, Method, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderMap,
};
use rustls::pki_types::CertificateDer;
pub use tenants::Tenants;
use windlass_runtime::{secrets::Bound, step::Sent};

/// Response bodies are read up to this size unless a request says otherwise.
pub const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// No response may be asked for that is larger than this.
pub const RESPONSE_BYTES_LIMIT: usize = 256 << 20;

/// What a client may do.
#[derive(Debug, Clone)]
pub struct EgressOptions {
    /// Whether addresses that are not public may be reached, where no tenant is asked for it.
    pub private_network: PrivateNetwork,
    /// Whether a tenant may reach them; none asks no tenant.
    pub tenants: Option<Tenants>,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long a response may be silent.
    pub read_timeout: Duration,
    /// How long a request may take with all its redirects and the whole body.
    pub total_timeout: Duration,
    /// How many redirects are followed.
    pub redirects_max: usize,
    /// Certificates to trust beside the well-known authorities.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for EgressOptions {
    fn default() -> EgressOptions {
        EgressOptions {
            private_network: PrivateNetwork::Refuse,
            tenants: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(300),
            total_timeout: Duration::from_secs(3_600),
            redirects_max: 10,
            extra_roots: Vec::new(),
        }
    }
}

/// A request to the outside world.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The headers; those that only the client may set are refused by the caller.
    pub headers: HeaderMap,
    /// The body; none is not the same as an empty one.
    pub body: Option<Vec<u8>>,
    /// What happens to a redirect.
    pub redirects: Redirects,
    /// How large the response body may be.
    pub response_bytes_max: usize,
    /// Where the secrets in it may go.
    pub bounds: Arc<[Bound]>,
}

/// What happens to a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// It is followed, up to [`EgressOptions::redirects_max`].
    Follow,
    /// It is the response.
    Return,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub url: Url,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// The client. Cloning it is cheap and shares its connections.
#[derive(Clone)]
pub struct Egress {
    client: Client,
    /// Which addresses that are not public it reaches.
    private_network: PrivateNetwork,
    shared: Arc<Shared>,
}

/// What is the same whoever is reached.
struct Shared {
    options: EgressOptions,
    /// For what is no HTTP.
    tls: Arc<rustls::ClientConfig>,
    known: tenants::Known,
}

impl Shared {
    /// A client that reaches these besides what is public. Its connections are its own.
    fn client(&self, private_network: &PrivateNetwork) -> Result<Client, EgressError> {
        let mut of_http = (*self.tls).clone();
        of_http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.options.connect_timeout)
            .read_timeout(self.options.read_timeout)
            .pool_idle_timeout(Duration::from_secs(15))
            .dns_resolver(Arc::new(CheckedResolver { private_network: private_network.clone() }))
            .tls_backend_preconfigured(of_http)
            .build()
            .map_err(|err| EgressError::Setup(Box::new(err)))
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("private_network", &self.private_network).finish_non_exhaustive()
    }
}

impl Egress {
    /// A client with these options.
    ///
    /// # Errors
    /// An extra root certificate cannot be read.
    pub fn new(options: EgressOptions) -> Result<Egress, EgressError> {
        let (tls, private_network) = (Arc::new(tls(&options)?), options.private_network.clone());
        let shared = Arc::new(Shared { options, tls, known: tenants::Known::default() });
        Ok(Egress { client: shared.client(&private_network)?, private_network, shared })
    }

    /// Sends a request, follows its redirects when it asks for that, and reads the body.
    ///
    /// # Errors
    /// There is no response, or not all of it; [`EgressFailure::sent`] says whether the request may have had its effect.
    pub async fn send(&self, request: Request) -> Result<Response, EgressFailure> {
        let host = host_of(&request.url);
        let mut sent = Sent::Nothing;
        let result = tokio::time::timeout(self.shared.options.total_timeout, self.follow(request, &mut sent)).await;
        match result {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(EgressFailure { error, sent }),
            Err(_elapsed) => Err(EgressFailure { error: EgressError::Timeout { host }, sent: Sent::Maybe }),
        }
    }

    async fn follow(&self, mut request: Request, sent: &mut Sent) -> Result<Response, EgressError> {
        for _ in 0..=self.shared.options.redirects_max {
            let response = self.send_once(&request, sent).await?;
            let target = redirect::target(&request, &response)?;
            let Some(target) = target else {
                let (status, headers) = (response.status(), response.headers().clone());
                let body = read_body(response, &request).await?;
                return Ok(Response { status, headers, url: request.url, body });
            };
            redirect::apply(&mut request, response.status(), target);
        }
        Err(EgressError::TooManyRedirects(self.shared.options.redirects_max))
    }

    async fn send_once(&self, request: &Request, sent: &mut Sent) -> Result<reqwest::Response, EgressError> {
        if !matches!(request.url.scheme(), "http" | "https") {
            return Err(EgressError::Scheme(request.url.scheme().to_owned()));
        }
        let host = host_of(&request.url);
        let port = request.url.port_or_known_default().unwrap_or(0);
        keep_bounds(&request.bounds, request.url.host_str().unwrap_or_default(), port)?;
        let checked = self.private_network.check_literal(&request.url);
        checked.map_err(|refused| EgressError::Refused { host: host.clone(), refused })?;
        let mut builder =
            self.client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let result = builder.send().await;
        let error = match result {
            Ok(response) => {
                *sent = Sent::Maybe;
                return Ok(response);
            }
            Err(error) => error,
        };
        // A failure to connect is the only one that proves that this request never left.
        if !error.is_connect() && !error.is_builder() {
            *sent = Sent::Maybe;
        }
        Err(translate(error, host))
    }
}

/// Resolves names with the system's resolver and refuses them when any of their addresses is not public: a name that
/// mixes public and private addresses is a trick, not a service.
struct CheckedResolver {
    private_network: PrivateNetwork,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private_network = self.private_network.clone();
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for it in &addresses {
                private_network.check(it.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn tls(options: &EgressOptions) -> Result<rustls::ClientConfig, EgressError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for root in &options.extra_roots {
        roots.add(root.clone()).map_err(|err| EgressError::Setup(Box::new(err)))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| EgressError::Setup(Box::new(err)))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Refuses a place to which one of these secrets may not go.
///
/// # Errors
/// One may not.
pub(crate) fn keep_bounds(bounds: &[Bound], host: &str, port: u16) -> Result<(), EgressError> {
    match bounds.iter().find(|it| !it.hosts.contains(host, port)) {
        None => Ok(()),
        Some(Bound { secret, hosts }) => Err(EgressError::SecretElsewhere {
            host: format!("{host}:{port}"),
            secret: secret.to_string(),
            hosts: hosts.to_string(),
        }),
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn read_body(mut response: reqwest::Response, request: &Request) -> Result<Vec<u8>, EgressError> {
    let bytes_max = request.response_bytes_max.min(RESPONSE_BYTES_LIMIT);
    if response.content_length().is_some_and(|length| length > bytes_max as u64) {
        return Err(EgressError::ResponseTooLarge(bytes_max));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|err| translate(err, host_of(&request.url)))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(EgressError::ResponseTooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
