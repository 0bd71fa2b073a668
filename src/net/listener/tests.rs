use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::*;

fn loopback() -> ListenAddress {
    "127.0.0.1:0".parse().unwrap()
}

fn port(bound: &Bound) -> SocketAddr {
    match bound.address() {
        ListenAddress::Tcp(address) => *address,
        ListenAddress::Unix(_) => panic!("asked for TCP"),
    }
}

#[test]
fn addresses_are_read_and_written() {
    for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/gateway.sock"] {
        assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
    }
    for bad in ["", "8080", "localhost:8080", "unix:", "127.0.0.1"] {
        assert_eq!(bad.parse::<ListenAddress>(), Err(BadListenAddress), "{bad}");
    }
}

#[test]
fn a_port_in_use_is_refused_even_by_sockets_that_could_share_it() {
    let first = Bound::listen(&loopback(), 2).unwrap();
    let again = ListenAddress::Tcp(port(&first));
    assert_eq!(Bound::listen(&again, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_socket_file_left_behind_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let address = ListenAddress::Unix(folder.path().join("gateway.sock"));
    let live = Bound::listen(&address, 4).unwrap();
    assert_eq!(live.sockets.len(), 1);
    assert_eq!(Bound::listen(&address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(live);
    Bound::listen(&address, 1).unwrap();
}

fn at_most(in_all: usize) -> MostConnections {
    MostConnections { in_all, per_source: None }
}

/// Two workers with an event loop each; tells which of them serves which connection.
fn two_workers(in_all: usize) -> (SocketAddr, Arc<Share>, std::sync::mpsc::Receiver<(usize, Accepted)>) {
    let bound = Bound::listen(&loopback(), 2).unwrap();
    let address = port(&bound);
    let (share, workers) = Share::among(bound.into_sockets(), 2, at_most(in_all));
    let (tell, served) = std::sync::mpsc::channel();
    for (index, worker) in workers.into_iter().enumerate() {
        let tell = tell.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let serve = |accepted| tell.send((index, accepted)).unwrap();
            runtime.block_on(worker.accept(std::future::pending(), serve)).unwrap();
        });
    }
    (address, share, served)
}

#[test]
fn few_connections_do_not_pile_up_on_one_worker() {
    let (address, share, served) = two_workers(100);
    let mut open = Vec::new();
    for _ in 0..8 {
        let stream = std::net::TcpStream::connect(address).unwrap();
        open.push((stream, served.recv_timeout(Duration::from_secs(5)).unwrap()));
    }
    let at_first = open.iter().filter(|(_, (index, _))| *index == 0).count();
    assert_eq!(at_first, 4);
    assert_eq!(share.connections(), 8);
    open.clear();
    assert_eq!(share.connections(), 0);
}

#[test]
fn connections_beyond_the_bound_get_no_seat() {
    let (address, share, served) = two_workers(2);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"x").unwrap();
        open.push((stream, served.recv_timeout(Duration::from_secs(5)).unwrap()));
    }
    let seats: Vec<bool> = open.iter().map(|(_, (_, accepted))| accepted.seat.is_ok()).collect();
    assert_eq!(seats, [true, true, false]);
    assert_eq!(share.connections(), 2);
}

/// Two workers of which only the first has a socket.
fn one_with_a_socket() -> (SocketAddr, Arc<Share>, Worker, Worker) {
    let bound = Bound::listen(&loopback(), 1).unwrap();
    let address = port(&bound);
    let (share, workers) = Share::among(bound.into_sockets(), 2, at_most(100));
    let [first, second]: [Worker; 2] = workers.try_into().unwrap();
    (address, share, first, second)
}

/// Makes so many connections, and runs `worker` until they are all taken; gives what it serves itself.
async fn accept(
    worker: Worker,
    address: SocketAddr,
    share: &Share,
    connections: usize,
) -> (Vec<std::net::TcpStream>, Vec<Accepted>) {
    let served = RefCell::new(Vec::new());
    let callers = (0..connections).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let all_taken = async {
        while share.connections() < connections {
            tokio::task::yield_now().await;
        }
    };
    worker.accept(all_taken, |accepted| served.borrow_mut().push(accepted)).await.unwrap();
    (callers, served.into_inner())
}

#[tokio::test]
async fn a_worker_that_accepts_no_more_is_handed_nothing() {
    let (address, share, first, second) = one_with_a_socket();
    second.accept(std::future::ready(()), |_| ()).await.unwrap();
    let (_callers, served) = accept(first, address, &share, 3).await;
    assert_eq!(served.len(), 3);
    drop(served);
    assert_eq!(share.connections(), 0);
}

#[tokio::test]
async fn what_was_handed_to_a_worker_that_never_took_it_frees_its_place() {
    let (address, share, first, second) = one_with_a_socket();
    let (_callers, served) = accept(first, address, &share, 3).await;
    assert_eq!((served.len(), share.connections()), (2, 3));
    drop(second);
    assert_eq!(share.connections(), 2);
    drop(served);
    assert_eq!(share.connections(), 0);
}

#[tokio::test]
async fn what_was_handed_over_before_closing_is_served() {
    let (address, share, first, second) = one_with_a_socket();
    let (_callers, _served) = accept(first, address, &share, 2).await;
    let mut taken_over = Vec::new();
    second.accept(std::future::ready(()), |accepted| taken_over.push(accepted)).await.unwrap();
    assert_eq!((taken_over.len(), share.connections()), (1, 2));
    assert!(taken_over[0].seat.is_ok());
}
