//! A UserSig is used while it is valid, whatever becomes of the clock.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_usersig_that_would_expire_on_the_way_is_not_used() {
    let bench = Bench::new(1);
    let first = bench.usersig().await.unwrap();
    bench.clock.set_unix(START + 24 * HOUR - 61);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    bench.clock.set_unix(START + 24 * HOUR - 60);
    assert!(bench.current().is_none());
    assert!(!Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_life_has_a_short_margin() {
    let settings = Settings { ttl: Duration::from_secs(20), renew_before: Duration::from_secs(5) };
    let bench = Bench::with(settings, apps([app(1)]));
    _ = bench.usersig().await.unwrap();
    bench.clock.set_unix(START + 17);
    assert!(bench.current().is_some());
    bench.clock.set_unix(START + 18);
    assert!(bench.current().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_is_noticed_by_the_next_call() {
    let bench = Bench::with(
        Settings { ttl: Duration::from_secs(HOUR), renew_before: Duration::from_secs(600) },
        apps([app(1)]),
    );
    let first = bench.usersig().await.unwrap();
    bench.clock.set_unix(START - 60);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first), "clocks may differ by a minute");
    bench.clock.set_unix(START - HOUR);
    let back = bench.usersig().await.unwrap();
    assert_eq!((back.signed_at(), bench.begun()), (START - HOUR, 2));
    bench.clock.set_unix(START);
    let forth = bench.usersig().await.unwrap();
    assert_eq!((forth.signed_at(), bench.begun()), (START, 3));
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_is_noticed_without_calls() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    for moment in [START - HOUR, START + 24 * HOUR] {
        bench.clock.set_unix(moment);
        bench.pass(31).await;
        let signed_at = bench.current().unwrap().signed_at();
        assert!((moment..=moment + 31).contains(&signed_at), "{signed_at}");
    }
    assert_eq!(bench.begun(), 3);
    renewal.abort();
}
