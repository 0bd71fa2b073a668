//! An app is ready when each of its keys was seen to sign.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_app_is_ready_when_all_its_keys_sign() {
    let mut rotated = app(1);
    rotated.keys.push(SecretKey::new("OLDER").unwrap());
    let bench = Bench::with(Settings::default(), apps([rotated]));
    let app = bench.app(1);
    assert_eq!(bench.credentials.can_sign(&app).await, Ok(()));
    assert_eq!(bench.begun(), 2, "each key is tried");
    assert_eq!(bench.credentials.can_sign(&app).await, Ok(()));
    assert_eq!(bench.begun(), 2, "once");
    assert!(bench.current().is_none(), "a try is not kept");
}

#[tokio::test(start_paused = true)]
async fn an_app_without_a_key_cannot_sign() {
    let bench = Bench::with(Settings::default(), apps([App { keys: Vec::new(), ..app(1) }]));
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Err(CannotSign::NoKey));
    assert_eq!(bench.usersig().await.unwrap_err(), CannotSign::NoKey);
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_uses_another_key_is_found_out() {
    #[derive(Debug)]
    struct Mistaken(SecretKey);
    impl Signer for Mistaken {
        fn sign<'a>(&'a self, app: &'a App, _key: &'a SecretKey, time: u64, expire: u64) -> Signing<'a> {
            KeySigner.sign(app, &self.0, time, expire)
        }
    }
    let apps = apps([app(1)]);
    let parts = Parts {
        signer: Arc::new(Mistaken(SecretKey::new("ANOTHER").unwrap())),
        clock: Arc::new(ManualClock::at_unix(START)),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let credentials = Credentials::new(Settings::default(), &apps, parts);
    let app = apps.named("app1").unwrap();
    assert_eq!(credentials.can_sign(app).await, Err(CannotSign::Unverified(1)));
}
