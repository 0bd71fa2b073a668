//! Plain HTTP in, pooled TLS 1.3 out, the query replaced: what Pingora does of the gateway's job.
//!
//! `compare-pingora LISTEN UPSTREAM QUERY`, with one worker thread.

use std::sync::Arc;

use async_trait::async_trait;
use http::uri::{PathAndQuery, Uri};
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

struct Proxy {
    upstream: Box<HttpPeer>,
    query: String,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(self.upstream.clone())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        let path = request.uri.path();
        let target = format!("{path}?{}&random={}", self.query, fastrand::u32(..));
        let target = PathAndQuery::try_from(target).expect("path and query are well-formed");
        request.set_uri(Uri::from(target));
        request.insert_header("host", "localhost")
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("LISTEN UPSTREAM QUERY");
    let (listen, upstream, query) = (next(), next(), next());

    let mut peer = HttpPeer::new(upstream.as_str(), true, "localhost".to_owned());
    peer.options.verify_cert = false;
    peer.options.verify_hostname = false;

    let configuration = ServerConf { threads: 1, upstream_keepalive_pool_size: 4096, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let proxy = Proxy { upstream: Box::new(peer), query };
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), proxy);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
