//! UserSigs are renewed before their end, and no call waits for that.

use super::*;

#[tokio::test(start_paused = true)]
async fn few_apps_sign_at_start_and_many_at_their_first_call() {
    for (count, at_start) in [(1, 1), (100, 100), (101, 0)] {
        let bench = Bench::new(count);
        let renewal = bench.start_renewal();
        settle().await;
        assert_eq!(bench.begun(), at_start, "{count} apps");
        assert_eq!(bench.current().is_some(), at_start > 0);
        bench.pass(120).await;
        assert_eq!(bench.begun(), at_start, "{count} apps");
        renewal.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn calls_use_the_old_usersig_while_the_new_one_is_signed() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    bench.set_takes(Duration::from_secs(300));
    // Between an hour and an hour and a quarter before the end.
    bench.clock.set_unix(START + 23 * HOUR);
    bench.pass(31).await;
    assert_eq!(bench.begun(), 2, "a renewal is under way");
    let before = tokio::time::Instant::now();
    for _ in 0..1000 {
        assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    bench.pass(300).await;
    let second = bench.usersig().await.unwrap();
    assert!(!Arc::ptr_eq(&second, &first));
    assert_eq!(bench.begun(), 2);
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn calls_always_find_a_usersig_ready() {
    for (ttl, renew_before, expected) in [
        (2 * HOUR, HOUR, 6..=8),
        (6 * HOUR, 5 * HOUR, 6..=9),
        // Renewed later than a call may use it, if the settings were taken by their word.
        (610, 1, 36..=60),
        (100, 99, 4_000..=4_400),
    ] {
        let settings =
            Settings { ttl: Duration::from_secs(ttl), renew_before: Duration::from_secs(renew_before) };
        let bench = Bench::with(settings, apps([app(1)]));
        let renewal = bench.start_renewal();
        settle().await;
        for second in 0..6 * HOUR {
            bench.pass(1).await;
            assert!(bench.current().is_some(), "{settings:?} at second {second}");
        }
        assert!(expected.contains(&bench.begun()), "{settings:?}: {}", bench.begun());
        renewal.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_shortest_lives_are_renewed_once_a_second_at_most() {
    for (ttl, renew_before) in [(0, 0), (1, 1), (2, 2), (10, 10)] {
        let settings =
            Settings { ttl: Duration::from_secs(ttl), renew_before: Duration::from_secs(renew_before) };
        let bench = Bench::with(settings, apps([app(1)]));
        let renewal = bench.start_renewal();
        bench.pass(60).await;
        assert!((6..=62).contains(&bench.begun()), "{ttl} s: {}", bench.begun());
        assert!(bench.usersig().await.is_ok());
        renewal.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_apps_do_not_renew_in_one_instant() {
    let bench = Bench::new(1000);
    for number in 1..=1000 {
        _ = bench.credentials.usersig(&bench.app(number)).await.unwrap();
    }
    let renewal = bench.start_renewal();
    bench.clock.set_unix(START + 24 * HOUR - HOUR - HOUR / 4 - 60);
    let (mut before, mut most) = (bench.begun(), 0);
    for _ in 0..HOUR / 4 + 120 {
        bench.pass(1).await;
        most = most.max(bench.begun() - before);
        before = bench.begun();
    }
    assert_eq!(before, 2000, "all are renewed by an hour before their end");
    assert!(most <= 50, "{most} in one second");
    assert_eq!(bench.signer.most_at_once.load(Ordering::SeqCst), 1);
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_usersig_and_tries_again_later() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Ok(()));
    bench.set_broken(true);
    bench.clock.set_unix(START + 23 * HOUR);
    bench.pass(30 * 60).await;
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Ok(()), "it still has one");
    // Half a minute to a minute each, and a few quick ones at first.
    let tries = bench.events.failed.load(Ordering::SeqCst);
    assert!((30..=66).contains(&tries), "{tries}");

    bench.set_broken(false);
    bench.pass(61).await;
    assert!(!Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_out_when_signing_failed_until_the_end() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Ok(()));
    bench.set_broken(true);
    bench.clock.set_unix(START + 24 * HOUR);
    bench.pass(31).await;
    assert!(bench.current().is_none());
    assert_eq!(bench.usersig().await.unwrap_err(), CannotSign::Signer("broken".into()));
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Err(CannotSign::Signer("broken".into())));
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_signed_ends_the_retries() {
    let bench = Bench::new(1);
    bench.set_broken(true);
    let renewal = bench.start_renewal();
    bench.pass(200).await;
    bench.set_broken(false);
    _ = bench.usersig().await.unwrap();
    let begun = bench.begun();
    bench.pass(600).await;
    assert_eq!(bench.begun(), begun);
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn renewal_ends_when_it_is_dropped() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    assert_eq!(Arc::strong_count(&bench.credentials), 2);
    renewal.abort();
    assert!(renewal.await.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&bench.credentials), 1);
}
