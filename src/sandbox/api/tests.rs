use serde_json::{Value, json};

use super::*;
use crate::model::error_code::ErrorCode;

fn call(world: &mut World, api: &str, body: Value) -> (i64, Value) {
    call_as(world, 1_400_000_001, "administrator", api, body)
}

fn call_as(world: &mut World, app: u64, identifier: &str, api: &str, body: Value) -> (i64, Value) {
    let caller = Caller { sdkappid: SdkAppId::try_from(app).unwrap(), identifier: identifier.to_owned() };
    let Value::Object(body) = body else { panic!("a body is an object") };
    let Answer { code: ErrorCode(code), payload, .. } = world.execute(&caller, &api.parse().unwrap(), &body);
    (code, Value::Object(payload))
}

#[test]
fn a_webhook_is_set_once_updated_read_and_deleted() {
    let world = &mut World::default();
    let one = json!({"Url": "https://a.example/1", "CallbackCommandList": ["Live.CallbackAfterCreateRoom"]});
    let two = json!({"Url": "http://a.example/2", "CallbackCommandList": []});
    let none = json!({"Url": "", "CallbackCommandList": []});
    assert_eq!(call(world, "live_config/get_callback", json!({})), (0, none.clone()));
    assert_eq!(call(world, "live_config/set_callback", one.clone()), (0, json!({})));
    assert_eq!(call(world, "live_config/set_callback", two.clone()).0, 100_300);
    assert_eq!(call(world, "live_config/get_callback", json!({})), (0, one));
    assert_eq!(call(world, "live_config/update_callback", two.clone()).0, 0);
    assert_eq!(call(world, "live_config/get_callback", json!({})), (0, two));
    let elsewhere = call_as(world, 1_400_000_002, "administrator", "live_config/get_callback", json!({}));
    assert_eq!(elsewhere, (0, none.clone()), "each app has its own");
    assert_eq!(call(world, "live_config/delete_callback", json!({})).0, 0);
    assert_eq!(call(world, "live_config/get_callback", json!({})), (0, none));
}

#[test]
fn a_webhook_needs_a_url_and_a_list_of_commands() {
    let world = &mut World::default();
    for bad in [
        json!({}),
        json!({"Url": "https://a.example"}),
        json!({"CallbackCommandList": []}),
        json!({"Url": "ftp://a.example", "CallbackCommandList": []}),
        json!({"Url": "https://a.example", "CallbackCommandList": [1]}),
        json!({"Url": format!("https://{}", "a".repeat(1017)), "CallbackCommandList": []}),
        json!({"Url": "https://a.example", "CallbackCommandList": vec!["c"; 101]}),
    ] {
        assert_eq!(call(world, "live_config/set_callback", bad.clone()).0, 100_002, "{bad}");
    }
    let longest =
        json!({"Url": format!("https://{}", "a".repeat(1016)), "CallbackCommandList": vec!["c"; 100]});
    assert_eq!(call(world, "live_config/set_callback", longest).0, 0);
}

#[test]
fn a_token_needs_both_members_first_and_then_only_what_changes() {
    let world = &mut World::default();
    let set = "live_config/set_callback_token";
    let get = "live_config/get_callback_token";
    assert_eq!(call(world, get, json!({})).0, 100_302);
    assert_eq!(call(world, set, json!({"Token": "t"})).0, 100_002);
    assert_eq!(call(world, set, json!({"IsTokenEnable": true})).0, 100_002);
    assert_eq!(call(world, set, json!({"Token": "t", "IsTokenEnable": true})).0, 0);
    assert_eq!(call(world, get, json!({})), (0, json!({"Token": "t", "IsTokenEnable": true})));
    assert_eq!(call(world, set, json!({"IsTokenEnable": false})).0, 0);
    assert_eq!(call(world, set, json!({"Token": "x".repeat(128)})).0, 0);
    assert_eq!(call(world, get, json!({})), (0, json!({"Token": "x".repeat(128), "IsTokenEnable": false})));
    for bad in [json!({"Token": ""}), json!({"Token": "x".repeat(129)}), json!({"IsTokenEnable": 1})] {
        assert_eq!(call(world, set, bad.clone()).0, 100_002, "{bad}");
    }
    assert_eq!(call(world, "live_config/delete_callback_token", json!({})).0, 0);
    assert_eq!(call(world, get, json!({})).0, 100_302);
}

#[test]
fn a_room_lives_from_create_to_destroy() {
    let world = &mut World::default();
    let create = "live_engine_http_srv/create_room";
    let wanted = json!({"RoomInfo": {"RoomId": "r", "RoomType": "Live", "Owner_Account": "anna"}});
    let info =
        json!({"RoomInfo": {"RoomId": "r", "RoomName": "r", "RoomType": "Live", "Owner_Account": "anna"}});
    assert_eq!(call(world, create, wanted.clone()), (0, info.clone()));
    assert_eq!(call(world, create, wanted).0, 100_010, "the same owner's");
    assert_eq!(call(world, create, json!({"RoomInfo": {"RoomId": "r"}})).0, 100_003, "somebody else's");
    assert_eq!(call(world, "live_engine_http_srv/get_room_info", json!({"RoomId": "r"})), (0, info));
    assert_eq!(call(world, "live_engine_http_srv/destroy_room", json!({"RoomId": "r"})).0, 0);
    assert_eq!(call(world, "live_engine_http_srv/destroy_room", json!({"RoomId": "r"})).0, 100_004);
    assert_eq!(call(world, "live_engine_http_srv/get_room_info", json!({"RoomId": "r"})).0, 100_004);
    assert_eq!(call(world, "live_engine_http_srv/get_room_info", json!({})).0, 100_002);
    assert_eq!(call(world, create, json!({"RoomInfo": {"RoomId": "x".repeat(49)}})).0, 100_002);
}

#[test]
fn a_room_without_an_id_is_given_an_unused_one() {
    let world = &mut World::default();
    let create = "live_engine_http_srv/create_room";
    assert_eq!(call(world, create, json!({"RoomId": "sandbox-1"})).0, 0);
    let (code, payload) = call(world, create, json!({}));
    assert_eq!((code, &payload["RoomInfo"]["RoomId"]), (0, &json!("sandbox-2")));
    assert_eq!(payload["RoomInfo"]["Owner_Account"], "administrator", "the caller owns it");
}

#[test]
fn rooms_and_accounts_have_a_bound() {
    let world = &mut World::default();
    let create = "live_engine_http_srv/create_room";
    for _ in 0..rooms::MOST_ROOMS {
        assert_eq!(call(world, create, json!({})).0, 0);
    }
    assert_eq!(call(world, create, json!({})).0, 100_013);
    let import = "im_open_login_svc/account_import";
    for number in 0..accounts::MOST_ACCOUNTS {
        assert_eq!(call(world, import, json!({"UserID": number.to_string()})).0, 0);
    }
    assert_eq!(call(world, import, json!({"UserID": "one more"})).0, 70398);
    assert_eq!(call(world, import, json!({"UserID": "7"})).0, 0, "it is there already");
}

#[test]
fn accounts_are_checked_one_by_one() {
    let world = &mut World::default();
    assert_eq!(call(world, "im_open_login_svc/account_import", json!({"UserID": "anna"})).0, 0);
    let (code, payload) = call(
        world,
        "im_open_login_svc/account_check",
        json!({"CheckItem": [{"UserID": "anna"}, {"UserID": "ben"}]}),
    );
    let item = |user: &str, status: &str| json!({"UserID": user, "ResultCode": 0, "ResultInfo": "", "AccountStatus": status});
    assert_eq!(
        (code, payload),
        (0, json!({"ResultItem": [item("anna", "Imported"), item("ben", "NotImported")]}))
    );
    let both = json!({"DeleteItem": [{"UserID": "anna"}, {"UserID": "ben"}]});
    let (code, payload) = call(world, "im_open_login_svc/account_delete", both);
    assert_eq!(
        (code, &payload["ResultItem"][0]["ResultCode"], &payload["ResultItem"][1]["ResultCode"]),
        (0, &json!(0), &json!(70107)),
    );
    let too_many: Vec<Value> = (0..101).map(|n| json!({"UserID": n.to_string()})).collect();
    assert_eq!(call(world, "im_open_login_svc/account_check", json!({"CheckItem": too_many})).0, 70402);
    assert_eq!(call(world, "im_open_login_svc/account_import", json!({"UserID": 7})).0, 60015);
    assert_eq!(call(world, "im_open_login_svc/account_import", json!({})).0, 70402);
    assert_eq!(call(world, "im_open_login_svc/account_import", json!({"UserID": "u".repeat(33)})).0, 70402);
}

#[test]
fn the_rest_of_the_catalogue_succeeds_plainly() {
    let world = &mut World::default();
    assert_eq!(call(world, "openim/sendmsg", json!({"anything": 1})), (0, json!({})));
}
