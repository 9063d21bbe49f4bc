//! A connection to the collector, by TLS where its endpoint says so.

use std::io;

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Where the collector is.
pub(super) struct Connector {
    host: String,
    port: u16,
    is_secure: bool,
}

/// What bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connector {
    pub(super) fn new(endpoint: &Uri) -> Self {
        let is_secure = endpoint.scheme_str() == Some("https");
        // A URL has an IPv6 address in brackets, which are not part of it.
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Self { host, port: endpoint.port_u16().unwrap_or(if is_secure { 443 } else { 80 }), is_secure }
    }

    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        if self.is_secure { secured(stream, &self.host).await } else { Ok(Box::new(stream)) }
    }
}

/// Trusts whom the machine trusts, or those of `SSL_CERT_FILE`.
#[cfg(feature = "tls")]
async fn secured(stream: TcpStream, host: &str) -> io::Result<Box<dyn Stream>> {
    use openssl::ssl::{SslConnector, SslMethod};

    let connector = SslConnector::builder(SslMethod::tls_client())?.build();
    let session = connector.configure()?.into_ssl(host)?;
    let mut stream = tokio_openssl::SslStream::new(session, stream)?;
    std::pin::Pin::new(&mut stream).connect().await.map_err(io::Error::other)?;
    Ok(Box::new(stream))
}

/// Settings of such a build take no endpoint that asks for it.
#[cfg(not(feature = "tls"))]
async fn secured(_stream: TcpStream, _host: &str) -> io::Result<Box<dyn Stream>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this build speaks no TLS"))
}
