//! What is asked and told over HTTP under `/sandbox/`.

use super::*;

#[tokio::test]
async fn a_script_asks_for_faults_and_reads_the_report() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let faults = json!([
        {"effect": {"answer": 60008}, "api": "live_config/get_callback"},
        {"effect": "gzip", "before_answer": "1ms..2ms", "calls": null},
    ]);
    let reply = client.exchange("POST", "/sandbox/faults", &faults.to_string()).await;
    assert_eq!((reply.status(), reply.json()), ("200", json!({"queued": 2})));
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 60008);
    assert_eq!(
        client.call(GET_CALLBACK, json!({})).await.header("content-encoding").as_deref(),
        Some("gzip")
    );

    let report = client.exchange("GET", "/sandbox/report?calls=1", "").await.json();
    let seen = json!({"arrived": 2, "accepted": 2, "refused": 0, "refused_for_rate": 0, "worst_second": 2});
    assert_eq!(
        report["apps"][APP.to_string()],
        json!({"all": seen, "apis": {"live_config/get_callback": seen}})
    );
    assert_eq!(
        (&report["arrived"], &report["connections"]),
        (&json!(2), &json!(1)),
        "the desk counts nothing"
    );
    let [call] = &report["calls"].as_array().unwrap()[..] else { panic!("one call was asked for") };
    assert_eq!((&call["number"], &call["answered"], &call["body"]), (&json!(1), &json!(0), &json!("{}")));
    let masked = format!("({} characters)", GOOD.sign().len());
    assert_eq!(call["parameters"]["usersig"], json!([masked]));
    assert!(!report.to_string().contains(&GOOD.sign()));

    assert_eq!(client.exchange("POST", "/sandbox/reset", "").await.status(), "200");
    assert_eq!(client.exchange("GET", "/sandbox/report", "").await.json()["arrived"], 0);
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.header("content-encoding"), None);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_reset_forgets_the_state() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    assert_eq!(client.call(CREATE_ROOM, json!({"RoomId": "r"})).await.code(), 0);
    sandbox.control().reset();
    assert_eq!(client.call(ROOM_INFO, json!({"RoomId": "r"})).await.code(), 100_004);
    sandbox.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_with_a_reason() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let full = Value::from(vec![json!({}); 1001]).to_string();
    for (method, target, body, status, said) in [
        ("POST", "/sandbox/faults", r#"{"effect": "stall"}"#, "400", "expected a sequence"),
        ("POST", "/sandbox/faults", r#"[{"effect": "explode"}]"#, "400", "explode"),
        ("POST", "/sandbox/faults", &full, "400", "1000 faults"),
        ("GET", "/sandbox/report?calls=all", "", "400", "calls"),
        ("GET", "/sandbox/faults", "", "405", "POST faults"),
        ("GET", "/sandbox/else", "", "404", "/sandbox/report"),
    ] {
        let reply = client.exchange(method, target, body).await;
        assert_eq!(reply.status(), status, "{method} {target}");
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(said), "{error}");
    }
    sandbox.stop().await;
}
