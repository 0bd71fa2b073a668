//! A reload keeps what still holds.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_usersigs_of_apps_that_stay_as_they_are() {
    let bench = Bench::new(2);
    let (one, two) = (bench.app(1), bench.app(2));
    let first = bench.credentials.usersig(&one).await.unwrap();
    let old = bench.credentials.usersig(&two).await.unwrap();

    let rotated = App { keys: vec![SecretKey::new("NEWER").unwrap()], ..app(2) };
    let after = apps([App { region: None, ..app(1) }, rotated]);
    bench.credentials.replace(Settings::default(), &after);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    let new = bench.credentials.usersig(after.named("app2").unwrap()).await.unwrap();
    assert!(!Arc::ptr_eq(&new, &old));
    assert!(usersig::decode(new.expose()).unwrap().verify(&SecretKey::new("NEWER").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_a_reload_ends_as_it_began() {
    let bench = Bench::new(2);
    let renamed = App { identifier: "admin2".parse().unwrap(), ..app(1) };
    bench.credentials.replace(Settings::default(), &apps([renamed]));
    for number in [1, 2] {
        let before = bench.app(number);
        assert!(bench.credentials.current(&before).is_none());
        let usersig = bench.credentials.usersig(&before).await.unwrap();
        let claims = usersig::decode(usersig.expose()).unwrap();
        assert_eq!((claims.sdkappid, claims.identifier), (before.sdkappid, before.identifier.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_a_reload_brings_signs_at_once() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let after = apps([app(1), app(2)]);
    bench.credentials.replace(Settings { ttl: Duration::from_secs(2 * HOUR), ..Settings::default() }, &after);
    settle().await;
    let usersig = bench.credentials.current(after.named("app2").unwrap()).unwrap();
    assert_eq!(usersig.lifetime().seconds(), 2 * HOUR);
    assert_eq!(bench.begun(), 2);
    renewal.abort();
}
