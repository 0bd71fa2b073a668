//! What Tencent refuses is dropped, and the next key tried.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_the_refused_usersig_is_dropped() {
    let bench = Bench::new(1);
    let app = bench.app(1);
    let first = bench.usersig().await.unwrap();
    bench.credentials.invalidate(&app, &first);
    assert!(bench.current().is_none());
    let second = bench.usersig().await.unwrap();
    assert!(!Arc::ptr_eq(&second, &first));
    // A slow answer tells of the first one once more.
    bench.credentials.invalidate(&app, &first);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &second));
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_usersig_refused_during_renewal_waits_for_that_one() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    bench.set_takes(Duration::from_secs(10));
    bench.clock.set_unix(START + 23 * HOUR);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(bench.begun(), 2, "a renewal is under way");
    bench.credentials.invalidate(&bench.app(1), &first);
    assert!(!Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    assert_eq!((bench.begun(), bench.signer.most_at_once.load(Ordering::SeqCst)), (2, 1));
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_usersig_is_not_kept_anywhere() {
    let bench = Bench::new(1);
    let first = bench.usersig().await.unwrap();
    bench.credentials.invalidate(&bench.app(1), &first);
    _ = bench.usersig().await.unwrap();
    assert_eq!(Arc::strong_count(&first), 1, "its memory is wiped as soon as the last call lets go of it");
}

/// Whether the UserSig in use is made with the app's key of this number.
async fn is_made_with(bench: &Bench, number: usize) -> bool {
    let usersig = bench.usersig().await.unwrap();
    usersig::decode(usersig.expose()).unwrap().verify(&bench.app(1).keys[number])
}

fn with_keys(keys: [&str; 3]) -> Bench {
    let keys = keys.map(|key| SecretKey::new(key).unwrap()).into();
    Bench::with(Settings::default(), apps([App { keys, ..app(1) }]))
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_gives_way_to_the_next_and_the_last_to_the_first() {
    let bench = with_keys(["NEW", "OLD", "OLDEST"]);
    let app = bench.app(1);
    let mut refused = Vec::new();
    for number in [0, 1, 2, 0] {
        assert!(is_made_with(&bench, number).await, "{number}");
        let usersig = bench.usersig().await.unwrap();
        // A hundred calls were on their way with it.
        for _ in 0..100 {
            bench.credentials.refuse_key(&app, &usersig);
        }
        refused.push(usersig);
    }
    for usersig in &refused {
        bench.credentials.refuse_key(&app, usersig);
    }
    assert!(is_made_with(&bench, 1).await);
    assert_eq!(bench.begun(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_key_that_works_is_remembered() {
    let bench = with_keys(["NEW", "OLD", "OLDEST"]);
    let app = bench.app(1);
    let first = bench.usersig().await.unwrap();
    bench.credentials.refuse_key(&app, &first);
    let second = bench.usersig().await.unwrap();
    bench.credentials.invalidate(&app, &second);
    assert!(is_made_with(&bench, 1).await);
    bench.clock.set_unix(START + 25 * HOUR);
    assert!(is_made_with(&bench, 1).await, "after its time, too");
    // Until the keys change.
    bench
        .credentials
        .replace(Settings::default(), &apps([App { keys: vec![app.keys[2].clone()], ..(*app).clone() }]));
    let usersig = bench.usersig().await.unwrap();
    assert!(usersig::decode(usersig.expose()).unwrap().verify(&app.keys[2]));
}

#[tokio::test(start_paused = true)]
async fn a_key_refused_during_renewal_is_not_used_by_it() {
    let bench = with_keys(["NEW", "OLD", "OLDEST"]);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    bench.set_takes(Duration::from_secs(10));
    bench.clock.set_unix(START + 23 * HOUR);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(bench.begun(), 2, "a renewal is under way");
    bench.credentials.refuse_key(&bench.app(1), &first);
    assert!(is_made_with(&bench, 1).await);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(is_made_with(&bench, 1).await, "the renewal's is thrown away");
    renewal.abort();
}
