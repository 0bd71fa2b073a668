//! What leaves is signed, and by whom it is checked.

use crate::world::{Builder, World, post, sdkappid};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_credentials_arrives_with_each_of_the_five_once() {
    let world = World::start().await;
    for path in [
        "/v4/live_config/get_callback",
        "/v4/live_config/get_callback?nettype=5",
        "/v4/live_config/get_callback?SdkAppId=1400000001&UserSig=x&%75sersig=y&random=1&random=2&CONTENTTYPE=xml&a=b",
        "/apps/live/v4/live_config/get_callback?identifier=somebody",
    ] {
        let answer = world.send(post(path, "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.error_code()), (200, 0), "{path}");
    }
    let report = world.sandbox.control().report();
    assert_eq!(report.calls.len(), 4);
    for call in &report.calls {
        let five = &call.parameters;
        assert_eq!(five.sdkappid, [sdkappid().to_string()]);
        assert_eq!(five.identifier, ["administrator"]);
        assert_eq!(five.usersig.len(), 1);
        assert_eq!(five.contenttype, ["json"]);
        assert_eq!(five.random.len(), 1);
        five.random[0].parse::<u32>().unwrap();
    }
    let randoms: std::collections::HashSet<_> =
        report.calls.iter().map(|call| &call.parameters.random).collect();
    assert_eq!(randoms.len(), 4);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_signed_is_not_sent() {
    let world = Builder::new().with_app(|app| app.keys.clear()).start().await;
    let answer = world.call("live_config/get_callback", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.error_code()), (503, 9_900_503));
    assert_eq!(world.sandbox.control().report().arrived, 0);
    world.end().await;
}
