//! Connections: how many there may be, and how long one may lie idle.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use usersig_gateway::net::listener::ListenAddress;

use crate::client::{Answer, Client, post};
use crate::world::{Builder, World};

const READ: &str = "/v4/live_config/get_callback";
/// More than one machine has, on loopback.
const ONE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_of_its_source_a_connection_is_turned_away_and_others_are_served() {
    let mut builder = Builder::new().workers(2);
    builder.boot.max_connections_per_source = NonZeroUsize::new(2);
    let world = builder.start().await;
    let mut kept = vec![caller(&world, ONE).await, caller(&world, ONE).await];
    for caller in &mut kept {
        assert_eq!(caller.send(post(READ, "{}")).await.codes(), (200, 0));
    }
    let answer = turned_away(&world, ONE).await;
    assert_eq!(answer.codes(), (503, 9_900_503));
    assert!(answer.error_info().starts_with("2 connections are open from your address"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    let refused = |metrics: &crate::samples::Samples| {
        metrics.sum("refused_total", &[("reason", "too_many_connections_of_source")])
    };
    assert_eq!(refused(&world.metrics().await), 1.0);

    // Another source has a bound of its own, and so has this one's next connection once one has ended.
    kept.push(caller(&world, OTHER).await);
    assert_eq!(kept[2].send(post(READ, "{}")).await.codes(), (200, 0));
    kept.remove(0);
    world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 2.0).await;
    kept.push(caller(&world, ONE).await);
    assert_eq!(kept[2].send(post(READ, "{}")).await.codes(), (200, 0));
    assert_eq!(refused(&world.metrics().await), 1.0);
    assert_eq!(world.report().arrived, 4);
    drop(kept);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket_a_source_is_a_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let mut builder = Builder::new();
    builder.boot.gateway = ListenAddress::Unix(path.clone());
    builder.boot.max_connections_per_source = NonZeroUsize::new(1);
    let world = builder.start().await;
    let mut first = Client::over(UnixStream::connect(&path).await.unwrap(), "localhost").await;
    assert_eq!(first.send(post(READ, "{}")).await.codes(), (200, 0));
    let mut second = Client::over(UnixStream::connect(&path).await.unwrap(), "localhost").await;
    let told = second.send(post(READ, "{}")).await;
    assert_eq!(told.codes(), (503, 9_900_503));
    assert!(told.error_info().contains("from your address or user"), "{}", told.error_info());
    drop(first);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_for_all_everybody_is_turned_away() {
    let mut builder = Builder::new();
    builder.boot.max_connections = 1;
    let world = builder.start().await;
    let mut kept = caller(&world, ONE).await;
    assert_eq!(kept.send(post(READ, "{}")).await.codes(), (200, 0));
    let answer = turned_away(&world, OTHER).await;
    assert_eq!(answer.codes(), (503, 9_900_503));
    assert!(answer.error_info().starts_with("1 connections are open, which"), "{answer:?}");
    assert_eq!(world.metrics().await.sum("refused_total", &[("reason", "too_many_connections")]), 1.0);
    drop(kept);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_without_a_word_whether_it_ever_spoke_or_not() {
    let mut builder = Builder::new();
    builder.boot.limits.idle_timeout = Duration::from_millis(300);
    let world = builder.start().await;
    let mut silent = connect(&world, ONE).await;
    let mut answered = caller(&world, ONE).await;
    assert_eq!(answered.send(post(READ, "{}")).await.codes(), (200, 0));
    let mut came = Vec::new();
    let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut came));
    end.await.expect("it is kept").unwrap();
    assert!(came.is_empty(), "{came:?}");
    world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 0.0).await;
    world.end().await;
}

/// A connection from this address of this machine.
async fn connect(world: &World, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(world.host().parse().unwrap()).await.unwrap()
}

async fn caller(world: &World, from: [u8; 4]) -> Client {
    Client::over(connect(world, from).await, world.host()).await
}

/// What a caller is told for whom there is no place.
async fn turned_away(world: &World, from: [u8; 4]) -> Answer {
    caller(world, from).await.send(post(READ, "{}")).await
}

const PATIENCE: Duration = Duration::from_secs(20);
