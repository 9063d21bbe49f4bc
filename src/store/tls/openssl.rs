//! By OpenSSL, as libpq has it, so that a certificate
//! that one of them takes is taken by the other.

use std::fmt::Display;
use std::path::Path;

use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::{MakeTlsConnector, set_postgresql_alpn};

use crate::store::Error;
use crate::config::database::{OwnCertificate, Roots, TlsPolicy, Verify};

/// Makes the driver's TLS sessions.
pub(in crate::store) type Connector = MakeTlsConnector;

/// Makes the connector that a URL asks for. Whether it is used at all, `sslmode` decides in the driver.
pub(in crate::store) fn connector(policy: &TlsPolicy) -> Result<Connector, Error> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(refused)?;
    set_postgresql_alpn(&mut builder).map_err(refused)?;
    if policy.verify == Verify::Nothing {
        builder.set_verify(SslVerifyMode::NONE);
    } else if let Roots::File(file) = &policy.roots {
        trust_only(&mut builder, file)?;
    }
    if let Some(own) = &policy.own {
        show(&mut builder, own)?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let by_name = policy.verify == Verify::SignerAndName;
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(by_name);
        Ok(())
    });
    Ok(connector)
}

/// The roots in `file`, and not the machine's.
fn trust_only(builder: &mut SslConnectorBuilder, file: &Path) -> Result<(), Error> {
    let roots = X509::stack_from_pem(&read("sslrootcert", file)?).map_err(of("sslrootcert", file))?;
    if roots.is_empty() {
        return Err(of("sslrootcert", file)("it holds no certificate in PEM form"));
    }
    let mut store = X509StoreBuilder::new().map_err(refused)?;
    for root in roots {
        store.add_cert(root).map_err(of("sslrootcert", file))?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

fn show(builder: &mut SslConnectorBuilder, own: &OwnCertificate) -> Result<(), Error> {
    // OpenSSL would say of a file that is not there what it says of one that is no certificate.
    read("sslcert", &own.chain)?;
    builder.set_certificate_chain_file(&own.chain).map_err(of("sslcert", &own.chain))?;
    // Without a callback OpenSSL asks the terminal for the key's password.
    let key = PKey::private_key_from_pem_callback(&read("sslkey", &own.key)?, |_| Ok(0));
    let key = key.map_err(of("sslkey", &own.key))?;
    builder.set_private_key(&key).map_err(of("sslkey", &own.key))
}

fn read(parameter: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(of(parameter, file))
}

/// An error of one of the URL's files.
fn of<E: Display>(parameter: &'static str, file: &Path) -> impl FnOnce(E) -> Error {
    move |error| Error::Tls(format!("{parameter} {}: {error}", file.display()))
}

fn refused(error: openssl::error::ErrorStack) -> Error {
    Error::Tls(error.to_string())
}
