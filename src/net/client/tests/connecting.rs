//! Connections are made in time, by the way that is set, or it is told why not.

use super::*;

/// A listening socket that accepts no more: its backlog is full.
fn black_hole() -> (Socket, std::net::SocketAddr, Vec<Socket>) {
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let full = socket.connect_timeout(&address.into(), Duration::from_millis(100)).is_err();
        filling.push(socket);
        if full {
            return (hole, address, filling);
        }
    }
}

#[tokio::test]
async fn a_connection_must_stand_in_time() {
    let (_hole, address, _filling) = black_hole();
    // It accepts, by its backlog, and never says a word of TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [address, silent.local_addr().unwrap()] {
        let endpoint: Endpoint = format!("https://{address}").parse().unwrap();
        let settings = Settings { connect_timeout: Duration::from_millis(50), ..settings() };
        let failed = on_worker(async {
            Client::new().connection(&endpoint, &Roots::default(), &settings, Instant::now()).await
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "no connection within 50ms");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_of_http2_is_no_connection() {
    let peer = Peer::tls("h2", |door| {
        let mut conversation = door.accept();
        assert_eq!(conversation.exactly(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert!(conversation.rest().is_some());
    });
    // Time for a preface, and much less than the server's patience.
    let settings = Settings { connect_timeout: Duration::from_secs(3), ..settings() };
    let failed = on_worker(async {
        Client::new().connection(&peer.endpoint, &peer.roots, &settings, Instant::now()).await
    })
    .await;
    assert_eq!(failed.unwrap_err().to_string(), "no connection within 3s");
    peer.done();
}

/// A CONNECT proxy for one connection, which says whether it was asked.
fn proxy() -> (EgressProxy, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let to = head.split(' ').nth(1).unwrap().to_owned();
        let mut server = std::net::TcpStream::connect(&to).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = std::thread::spawn(move || {
            _ = std::io::copy(&mut from_client, &mut to_server);
            _ = to_server.shutdown(std::net::Shutdown::Write);
        });
        _ = std::io::copy(&mut server, &mut client);
        _ = client.shutdown(std::net::Shutdown::Both);
        up.join().unwrap();
        to
    });
    (proxy, thread)
}

#[tokio::test]
async fn a_call_leaves_by_the_proxy_that_is_set_now() {
    for alpn in ["http/1.1", "h2"] {
        let peer = Peer::tls(alpn, move |door| {
            let mut open = Vec::new();
            for _ in 0..2 {
                let mut conversation = door.accept();
                if alpn == "h2" {
                    conversation.greet_http2(None);
                    let stream = conversation.http2_request();
                    conversation.answer_http2(stream, "x");
                } else {
                    conversation.request();
                    conversation.answer("", "x");
                }
                open.push(conversation);
            }
            for mut conversation in open {
                assert!(conversation.rest().is_some());
            }
        });
        let (egress_proxy, proxied) = proxy();
        on_worker(async {
            let client = Client::new();
            assert_eq!(call(&client, &peer).await.0, NEW);
            let settings = Settings { egress_proxy: Some(&egress_proxy), ..settings() };
            for reused in [NEW, REUSED] {
                let connection =
                    client.connection(&peer.endpoint, &peer.roots, &settings, Instant::now()).await.unwrap();
                assert_eq!(connection.is_reused(), reused, "{alpn}");
                if reused == NEW {
                    let answer = connection.send(post("{}"), Rc::new(Steps::default())).await.unwrap();
                    read_capped(answer.answer, 10).await.unwrap();
                }
            }
        })
        .await;
        let endpoint = peer.endpoint.authority().to_owned();
        peer.done();
        assert_eq!(proxied.join().unwrap(), endpoint);
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told() {
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = taken.local_addr().unwrap().as_socket().unwrap();
    let endpoint: Endpoint = format!("http://{address}").parse().unwrap();
    let failed = on_worker(async {
        Client::new().connection(&endpoint, &Roots::default(), &settings(), Instant::now()).await
    })
    .await;
    let words = failed.unwrap_err().to_string();
    assert!(words.starts_with("cannot connect: ") && words.contains("refused"), "{words}");
}
