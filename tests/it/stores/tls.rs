//! TLS: whom a gateway trusts, and what it shows.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::{is_told, serve};
use crate::redis_server::{RedisServer, free_port};
use crate::shared_ceiling::fleet::{Arrivals, LIMIT};

/// Certificates of one authority, as files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for (file, name) in [("server", "127.0.0.1"), ("client", "gateway.test")] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([name.to_owned()]).unwrap();
            let certificate = certificate.signed_by(&key, &issuer).unwrap();
            fs::write(folder.path().join(format!("{file}.crt")), certificate.pem()).unwrap();
            fs::write(folder.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_are_who_they_say_or_nothing_is_said() {
    let (files, port) = (Files::new(), free_port());
    let port_text = port.to_string();
    let [ca, certificate, key] = ["ca.pem", "server.crt", "server.key"].map(|name| files.path(name));
    let mut arguments = vec!["--tls-port", &port_text, "--tls-cert-file", &certificate];
    arguments.extend(["--tls-key-file", &key, "--tls-ca-cert-file", &ca]);
    let _redis = RedisServer::start_with(&arguments).await;
    let arrivals = Arrivals::under(LIMIT).await;
    let [client, client_key] = ["client.crt", "client.key"].map(|name| files.path(name));
    let trust = format!("ca_file = \"{ca}\"\n");
    let identity = format!("cert_file = \"{client}\"\nkey_file = \"{client_key}\"\n");
    let start = |host: &str, files: &[&str]| {
        arrivals.serving(&format!("url = \"rediss://{host}:{port}\"\n{}", files.concat()), &[])
    };
    let gateways = [start("127.0.0.1", &[&trust, &identity]), start("127.0.0.1", &[&trust, &identity])];
    let unknown_authority = start("127.0.0.1", &[&identity]);
    let other_name = start("localhost", &[&trust, &identity]);
    let shows_nothing = start("127.0.0.1", &[&trust]);

    serve(&gateways).await;
    is_told(&unknown_authority, "UnknownIssuer").await;
    is_told(&other_name, "not valid for name \"localhost\"").await;
    is_told(&shows_nothing, "it may want another client certificate").await;
}
