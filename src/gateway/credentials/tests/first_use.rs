//! What the first call of an app finds: one signing for all who wait.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_first_calls_share_one_signing() {
    let bench = Bench::new(1);
    bench.set_takes(Duration::from_secs(1));
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let (credentials, app) = (Arc::clone(&bench.credentials), bench.app(1));
        calls.spawn(async move { credentials.usersig(&app).await.unwrap() });
    }
    let all = calls.join_all().await;
    assert_eq!(bench.begun(), 1);
    assert!(all.iter().all(|usersig| Arc::ptr_eq(usersig, &all[0])));
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &all[0]));
    assert_eq!(bench.begun(), 1);
    assert_eq!(*bench.events.expires.lock().unwrap(), [("app1".into(), START + 24 * HOUR)]);
}

#[test]
fn workers_share_one_signing_too() {
    let bench = Bench::new(1);
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let worker = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                barrier.wait();
                worker.block_on(bench.usersig()).unwrap();
            });
        }
    });
    assert_eq!(bench.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_and_not_kept() {
    let bench = Bench::new(1);
    bench.set_takes(Duration::from_secs(1));
    bench.set_broken(true);
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let (credentials, app) = (Arc::clone(&bench.credentials), bench.app(1));
        calls.spawn(async move { credentials.usersig(&app).await.unwrap_err() });
    }
    let all = calls.join_all().await;
    assert!(all.iter().all(|error| *error == CannotSign::Signer("broken".into())));
    assert_eq!((bench.begun(), bench.events.failed.load(Ordering::SeqCst)), (1, 1));
    bench.set_broken(false);
    assert!(bench.usersig().await.is_ok());
    assert_eq!(bench.events.signed.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_up_while_signing_leaves_the_others_well() {
    let bench = Bench::new(1);
    bench.set_takes(Duration::from_secs(1));
    let (credentials, first) = (Arc::clone(&bench.credentials), bench.app(1));
    let first = tokio::spawn(async move { credentials.usersig(&first).await });
    settle().await;
    let (credentials, second) = (Arc::clone(&bench.credentials), bench.app(1));
    let second = tokio::spawn(async move { credentials.usersig(&second).await });
    settle().await;
    assert_eq!(bench.begun(), 1);
    first.abort();
    assert!(second.await.unwrap().is_ok());
    assert_eq!((bench.begun(), bench.signer.most_at_once.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_saw_the_slot_before_a_signing_does_not_sign_again() {
    let bench = Bench::new(1);
    let slot = Arc::clone(bench.credentials.live.load().slots.get(bench.app(1).sdkappid).unwrap());
    let seen = slot.state().generation;
    let first = bench.usersig().await.unwrap();
    assert_eq!(bench.credentials.sign_after(&slot, seen).await, Ok(()));
    assert!(Arc::ptr_eq(&bench.current().unwrap(), &first));
    assert_eq!(bench.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn apps_do_not_wait_for_each_other() {
    let bench = Bench::new(2);
    bench.set_takes(Duration::from_secs(1));
    let (one, two) = (bench.app(1), bench.app(2));
    let (one, two) = tokio::join!(bench.credentials.usersig(&one), bench.credentials.usersig(&two));
    assert_eq!(bench.signer.most_at_once.load(Ordering::SeqCst), 2);
    assert_ne!(one.unwrap().expose(), two.unwrap().expose());
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_says_the_app_and_the_time() {
    let bench = Bench::new(1);
    let usersig = bench.usersig().await.unwrap();
    let claims = usersig::decode(usersig.expose()).unwrap();
    assert_eq!((claims.sdkappid, claims.identifier.as_str()), (bench.app(1).sdkappid, "administrator"));
    assert_eq!((claims.time, claims.expire), (START, 24 * HOUR));
    assert!(claims.verify(&bench.app(1).keys[0]));
}
