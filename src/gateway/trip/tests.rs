use super::*;
use crate::gateway::outcome::Diagnosis;
use crate::gateway::target::Endpoints;
use crate::model::endpoint::Endpoint;
use crate::model::error_code::ErrorCode;
use crate::model::secret::SecretKey;
use crate::net::client::Roots;

const KEY: Cause = Cause { diagnosis: Diagnosis::WrongKey, code: ErrorCode(70009) };

fn app(key: &str) -> App {
    App {
        name: "live".parse().unwrap(),
        sdkappid: "1400000001".parse().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: vec![SecretKey::new(key).unwrap()],
        region: None,
        endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

fn apps(key: &str) -> Apps {
    let mut apps = Apps::default();
    apps.add(app(key), true).unwrap();
    apps
}

fn the_app(apps: &Apps) -> Arc<App> {
    Arc::clone(apps.default_app().unwrap())
}

fn passed<'a>(trips: &'a Trips, app: &Arc<App>) -> Pass<'a> {
    match trips.enter(app) {
        Ok(Entered::Passed(pass)) => pass,
        other => panic!("{other:?}"),
    }
}

fn gauge(metrics: &Metrics) -> Option<bool> {
    let text = metrics.encode();
    let sample = "usersig_gateway_app_tripped{app=\"live\",reason=\"wrong_key\"} ";
    text.lines().find_map(|line| line.strip_prefix(sample)).map(|value| value == "1")
}

#[tokio::test(start_paused = true)]
async fn a_trip_is_told_and_refuses_until_a_probe_succeeds() {
    let metrics = Metrics::new("1");
    let apps = apps("FAKE");
    let app = the_app(&apps);
    let trips = Trips::new(&apps, Arc::clone(&metrics));
    for _ in 0..3 {
        assert_eq!((trips.check(&app), trips.reading(&app), gauge(&metrics)), (Ok(()), None, None));
        passed(&trips, &app).refused(KEY);
    }
    assert_eq!(gauge(&metrics), Some(true));
    let tripped = trips.check(&app).unwrap_err();
    assert_eq!(trips.enter(&app).unwrap_err(), tripped);
    assert_eq!(trips.reading(&app), Some(Reading { cause: KEY, probe_in: tripped.probe_in }));
    let told = tripped.to_string();
    assert!(
        told.contains("app live is stopped") && told.contains("70009") && told.contains("secret_key_file")
    );

    tokio::time::advance(tripped.probe_in).await;
    assert_eq!(trips.check(&app), Ok(()));
    let probe = passed(&trips, &app);
    trips.check(&app).unwrap_err();
    probe.let_in();
    assert_eq!((trips.check(&app), trips.reading(&app), gauge(&metrics)), (Ok(()), None, Some(false)));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_when_the_trial_succeeds() {
    let apps = apps("FAKE");
    let app = the_app(&apps);
    let trips = Trips::new(&apps, Metrics::new("1"));
    passed(&trips, &app).signature_refused(KEY);
    let trial = passed(&trips, &app);
    let Ok(Entered::Wait(waiting)) = trips.enter(&app) else { panic!("another trial is on its way") };
    let in_vain = trips.enter(&app);
    let soon = Instant::now() + Duration::from_secs(1);
    let Ok(Entered::Wait(late)) = in_vain else { panic!("another trial is on its way") };
    assert!(!late.until(soon).await, "its time is up");
    let (went, ()) = tokio::join!(waiting.until(soon + Duration::from_secs(1)), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        trial.let_in();
    });
    assert!(went);
    let [a, b] = [passed(&trips, &app), passed(&trips, &app)];
    drop((a, b));
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_given_up_makes_room() {
    let apps = apps("FAKE");
    let app = the_app(&apps);
    let trips = Trips::new(&apps, Metrics::new("1"));
    passed(&trips, &app).signature_refused(KEY);
    let trial = passed(&trips, &app);
    let Ok(Entered::Wait(waiting)) = trips.enter(&app) else { panic!("another trial is on its way") };
    drop(trial);
    assert!(waiting.until(Instant::now()).await, "heard though it was before the wait");
    passed(&trips, &app).let_in();
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_changed_starts_anew_and_others_stay() {
    let metrics = Metrics::new("1");
    let before = apps("FAKE");
    let old = the_app(&before);
    let trips = Trips::new(&before, Arc::clone(&metrics));
    let under_way = [(); 8].map(|()| passed(&trips, &old));
    for _ in 0..3 {
        passed(&trips, &old).refused(KEY);
    }
    trips.replace(&apps("FAKE"));
    trips.check(&old).unwrap_err();
    let after = apps("FAKEOTHER");
    trips.replace(&after);
    assert_eq!((trips.check(&the_app(&after)), gauge(&metrics)), (Ok(()), Some(false)));
    // Calls that were sent before the reload trip nobody.
    for (nth, pass) in under_way.into_iter().enumerate() {
        if nth % 2 == 0 { pass.refused(KEY) } else { pass.quiet(KEY) }
    }
    assert_eq!((trips.check(&the_app(&after)), gauge(&metrics)), (Ok(()), Some(false)));
    // One that began before it and is sent after it is signed with the new key, so it stands with the others.
    passed(&trips, &old).signature_refused(KEY);
    let trial = passed(&trips, &the_app(&after));
    assert!(matches!(trips.enter(&old), Ok(Entered::Wait(_))), "one at a time goes on trial");
    drop(trial);
    trips.replace(&Apps::default());
    assert_eq!(trips.reading(&the_app(&after)), None);
}

#[tokio::test(start_paused = true)]
async fn an_app_whose_index_is_taken_stands_as_it_did() {
    let before = apps("FAKE");
    let old = the_app(&before);
    let trips = Trips::new(&before, Metrics::new("1"));
    for _ in 0..3 {
        passed(&trips, &old).refused(KEY);
    }
    let other =
        App { name: "chat".parse().unwrap(), sdkappid: "1400000002".parse().unwrap(), ..App::clone(&old) };
    let mut after = Apps::default();
    for app in [other, App::clone(&old)] {
        after.add(app, false).unwrap();
    }
    trips.replace(&after);
    let [chat, live] = ["chat", "live"].map(|name| after.named(name).unwrap());
    for tripped in [&old, live] {
        trips.check(tripped).unwrap_err();
        trips.enter(tripped).unwrap_err();
    }
    assert_eq!(trips.check(chat), Ok(()));
    let same = |_: &App, _: &App| panic!("it is the same app");
    assert!(trips.standings.load().find(live, same).is_some());

    // What comes of calls of an app that is gone is not held against the one that has its index.
    let mut only_chat = Apps::default();
    only_chat.add(App::clone(chat), true).unwrap();
    trips.replace(&only_chat);
    for _ in 0..4 {
        assert_eq!(trips.check(&old), Ok(()));
        passed(&trips, &old).refused(KEY);
    }
    assert_eq!(trips.check(&the_app(&only_chat)), Ok(()));
}
