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

#[tokio::test(start_paused = true)]
async fn an_app_whose_index_is_taken_gets_its_own_usersig() {
    let bench = Bench::new(3);
    let before = [1, 2, 3].map(|number| bench.app(number));
    let mut held = Vec::new();
    for app in &before {
        held.push(bench.credentials.usersig(app).await.unwrap());
    }
    // 2 takes the index of 1, and 1 that of 2; 4 takes that of 3, which is gone.
    let after = apps([app(2), app(1), app(4)]);
    bench.credentials.replace(Settings::default(), &after);
    bench.credentials.usersig(after.named("app4").unwrap()).await.unwrap();
    for (app, held) in before.iter().zip(&held).take(2) {
        let now = after.named(app.name.as_str()).unwrap();
        for app in [app, now] {
            assert!(Arc::ptr_eq(&bench.credentials.usersig(app).await.unwrap(), held));
        }
        let same = |_: &App, _: &App| panic!("it is the same app");
        assert!(bench.credentials.live.load().slots.find(now, same).is_some());
    }
    assert!(bench.credentials.current(&before[2]).is_none());
    let usersig = bench.credentials.usersig(&before[2]).await.unwrap();
    assert_eq!(usersig::decode(usersig.expose()).unwrap().sdkappid, before[2].sdkappid);
    // Nor does it drop the other's, whatever it was refused.
    bench.credentials.invalidate(&before[2], &held[2]);
    assert!(bench.credentials.current(after.named("app4").unwrap()).is_some());
}
