//! Where the gateway listens, with which certificates, and that it does not call itself.

use std::path::PathBuf;

use super::*;

#[test]
fn private_endpoints_stand_in_for_a_region() {
    let text = format!("{APP}endpoints = ['https://127.0.0.1:18443', 'http://localhost:18080']");
    let settings = parsed(&text, &[]).unwrap().settings;
    let app = settings.live.apps.default_app().unwrap();
    let endpoints: Vec<_> = app.endpoints.v4.iter().map(ToString::to_string).collect();
    assert_eq!(
        (app.region, endpoints),
        (None, vec!["https://127.0.0.1:18443".into(), "http://localhost:18080".into()])
    );
}

#[test]
fn an_endpoint_must_not_lead_back() {
    let leads_back = |gateway: &str, endpoint: &str| {
        let text = format!("listen.gateway = '{gateway}'{APP}endpoints = ['{endpoint}']");
        parsed(&text, &[]).is_err_and(|error| error.contains("not this gateway's own listener"))
    };
    assert!(leads_back("127.0.0.1:8080", "http://127.0.0.1:8080"));
    assert!(leads_back("127.0.0.1:8080", "http://localhost:8080"));
    assert!(leads_back("127.0.0.1:8080", "https://0.0.0.0:8080"));
    assert!(leads_back("0.0.0.0:8080", "http://127.0.0.1:8080"));
    assert!(leads_back("[::]:8080", "http://127.0.0.1:8080"));
    assert!(leads_back("10.0.0.1:8080", "https://10.0.0.1:8080"));
    assert!(leads_back("127.0.0.1:8080", "http://127.0.0.1:9901"), "the admin listener is one of ours, too");
    assert!(!leads_back("0.0.0.0:8080", "http://[::1]:8080"));
    assert!(!leads_back("127.0.0.1:8080", "http://127.0.0.1:8081"));
    assert!(!leads_back("127.0.0.1:8080", "http://127.0.0.2:8080"));
    assert!(!leads_back("10.0.0.1:8080", "http://localhost:8080"));
    assert!(!leads_back("0.0.0.0:8080", "https://example.com:8080"));
    assert!(!leads_back("unix:/run/gateway.sock", "http://127.0.0.1:8080"));
}

#[test]
fn two_listeners_need_two_addresses() {
    let collide = |gateway: &str, admin: &str| {
        let text = format!("listen.gateway = '{gateway}'\nlisten.admin = '{admin}'{APP}");
        parsed(&text, &[])
            .is_err_and(|error| error.contains("wanted another address than listen.gateway has"))
    };
    assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
    assert!(collide("127.0.0.1:80", "[::]:80"));
    assert!(collide("unix:/run/a", "unix:/run/a"));
    assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    assert!(collide("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
    assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
    assert!(!collide("0.0.0.0:80", "[::1]:80"));
    assert!(!collide("unix:/run/a", "unix:/run/b"));
}

#[test]
fn a_socket_path_must_fit_the_kernels_address_with_its_folder() {
    let error = |length: usize| {
        let text = format!("listen.gateway = 'unix:{}'{APP}", "x".repeat(length));
        let environment = Environment::from_iter([("LIVE_KEY", "FAKE")]);
        parse(&text, "/etc/gateway.toml".as_ref(), &environment).err().map(|problems| problems.to_string())
    };
    assert_eq!(error(102), None);
    assert_eq!(
        error(103).unwrap(),
        "/etc/gateway.toml:1: listen.gateway: found a path of 108 bytes, wanted at most 107, its folder's path included"
    );
}

/// A folder with `ca.pem`, `server.pem` and `server.key` signed by it, and `other.key`.
fn certificates() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new([]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server =
        rcgen::CertificateParams::new(["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    write("ca.pem", ca_certificate.pem());
    write("server.pem", server.pem());
    write("server.key", key.serialize_pem());
    write("other.key", rcgen::KeyPair::generate().unwrap().serialize_pem());
    let file = folder.path().join("gateway.toml");
    (folder, file)
}

#[test]
fn certificates_are_read_and_tried() {
    let (_folder, file) = certificates();
    let environment = Environment::from_iter([("LIVE_KEY", "FAKE")]);
    let load = |tls: &str| {
        let ca = "endpoints = ['https://127.0.0.1:18443']\nca_file = 'ca.pem'";
        parse(&format!("listen.tls = {{ {tls} }}{APP}{ca}"), &file, &environment)
    };
    let loaded =
        load("cert_file = 'server.pem', key_file = 'server.key', client_ca_file = 'ca.pem'").unwrap();
    let tls = loaded.settings.boot.tls.unwrap();
    assert_eq!((tls.chain.len(), tls.client_roots.unwrap().len()), (1, 1));
    assert_eq!(loaded.settings.live.apps.default_app().unwrap().extra_roots.len(), 1);

    let problem = |tls: &str| load(tls).unwrap_err().to_string();
    let mismatch = problem("cert_file = 'server.pem', key_file = 'other.key'");
    assert!(
        mismatch.contains("listen.tls: the certificate and its private key cannot be used together"),
        "{mismatch}"
    );
    let swapped = problem("cert_file = 'server.key', key_file = 'server.pem'");
    assert!(
        swapped.contains("listen.tls.cert_file: ") && swapped.contains("server.key\": holds no certificate")
    );
    assert!(
        swapped.contains("listen.tls.key_file: ") && swapped.contains("server.pem\": holds no private key")
    );
}

#[test]
fn client_certificates_or_rules_close_the_open_door() {
    let (_folder, file) = certificates();
    let environment = Environment::from_iter([("LIVE_KEY", "FAKE")]);
    let doors = |client_ca: &str, more: &str| {
        let tls = format!("listen.tls = {{ cert_file = 'server.pem', key_file = 'server.key'{client_ca} }}");
        let text = format!("listen.gateway = '0.0.0.0:8443'\n{tls}{APP}{more}");
        let warnings = parse(&text, &file, &environment).unwrap().warnings;
        warnings.iter().filter(|warning| warning.key == "listen.gateway").count()
    };
    assert_eq!(doors("", ""), 1);
    assert_eq!(doors("", "[callers]\nrule = []"), 1);
    assert_eq!(doors(", client_ca_file = 'ca.pem'", ""), 0);
    assert_eq!(doors("", "[[callers.rule]]\nname = 'gifts'\ncidr = ['10.0.0.0/8']"), 0);
}
