//! Authorities that are trusted beside the well-known ones, as a file of an installation names them.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Their certificates.
#[derive(Debug, Clone, Default)]
pub struct Authorities(pub Vec<CertificateDer<'static>>);

/// A text that holds none.
#[derive(Debug, thiserror::Error)]
pub enum BadAuthorities {
    /// It is no PEM.
    #[error("is not PEM: {0}")]
    Form(String),
    /// There is none in it.
    #[error("holds no certificate (`-----BEGIN CERTIFICATE-----`)")]
    Empty,
    /// One cannot be used.
    #[error("certificate {place} cannot be used: {why}")]
    Certificate {
        /// Which, from 1.
        place: usize,
        /// Why.
        why: String,
    },
}

impl Authorities {
    /// Those in a text of PEM.
    ///
    /// # Errors
    /// It is none, or one of them cannot be used.
    pub fn read(pem: &[u8]) -> Result<Authorities, BadAuthorities> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let all = read.map_err(|error| BadAuthorities::Form(error.to_string()))?;
        if all.is_empty() {
            return Err(BadAuthorities::Empty);
        }
        let mut roots = RootCertStore::empty();
        for (at, certificate) in all.iter().enumerate() {
            let added = roots.add(certificate.clone());
            added.map_err(|error| BadAuthorities::Certificate { place: at + 1, why: error.to_string() })?;
        }
        Ok(Authorities(all))
    }
}
