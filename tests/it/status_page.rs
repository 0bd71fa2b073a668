//! The status page in a real browser: what it shows while calls run, how it looks, and that nothing in it is markup
//! but its own. Pictures of every state are left in `target/tmp/status-page` for people to look at.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use usersig_gateway::admin::{
    self, ApiStatus, AppStatus, CallerStatus, CodeStatus, EndpointStatus, ErrorStatus, Orders, Readiness,
    ReadinessState, State, Status, StoreMode, StoreStatus, TrippedApp,
};
use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::gateway::target::App;
use usersig_gateway::model::ceiling::Ceiling;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::net::stop::Stopper;
use usersig_gateway::sandbox::SandboxApp;
use usersig_gateway::telemetry::metrics::Metrics;

use crate::browser::Browser;
use crate::client::send;
use crate::world::{Builder, KEY, World, api, post};

const READ: &str = "live_config/get_callback";

/// Its ceiling is 10 a second.
const SLOW: &str = "live_engine_http_srv/get_room_list";

/// Here its ceiling is one an hour.
const RARE: &str = "live_engine_http_srv/get_room_info";

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_what_goes_on_and_keeps_itself_fresh() {
    let world = world_of_two_apps().await;
    let browser = Browser::start();
    browser.seen_by(WIDE, false);
    browser.open(&format!("http://{}/", world.gateway().admin_address()));
    assert_eq!(text_of(&browser, ".verdict h2"), "All is well");
    assert_eq!(row(&browser, "live")["Hosts"], format!("{} in use", world.sandbox.url()));
    look(&browser, "idle");

    // Nobody loads the page again from here on.
    browser.run("window.opened = true; document.querySelector('nav a').focus()");
    for _ in 0..40 {
        assert_eq!(call(&world, "live", READ, "gifts", "3s").await, 200);
    }
    assert_eq!(call(&world, "live", "live_config/get_callback_token", "billing", "3s").await, 200);
    assert_eq!(call(&world, "live", READ, "<script>pwned=1</script>", "3s").await, 200);
    assert_eq!(call(&world, "live", RARE, "ops", "3s").await, 200);
    for _ in 0..3 {
        assert_eq!(call(&world, "live", RARE, "gifts", "0").await, 429);
    }
    let cells = until_row(&browser, "gifts", "Refused here", "3");
    assert_eq!((&cells["Failed otherwise"], &cells["Waiting now"]), (&json!("0"), &json!("0")));
    assert_eq!(row(&browser, "billing")["Failed otherwise"], "1");
    assert_eq!(row(&browser, "<script>pwned=1</script>")["Refused here"], "0");
    assert_eq!(row(&browser, READ)["ErrorCodes"], "ok× 41");
    assert!(text_of(&browser, ".verdict").contains(&format!("3 calls of {RARE} got no turn")));
    let error = text_of(&browser, ".errors > li[data-key*='100302']");
    for part in ["no webhook token is configured", "called by billing", "gw-", "Id-"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(browser.run("return [window.opened, window.pwned]"), json!([true, null]));
    assert_eq!(browser.run("return document.activeElement.innerText"), "/livez", "the focus stays");

    // While calls wait: half a minute's worth.
    let mut waiting = JoinSet::new();
    for _ in 0..300 {
        let (host, request) = (world.host().to_owned(), request("live", SLOW, "gifts", "60s"));
        waiting.spawn(async move { send(&host, request).await.status.as_u16() });
    }
    browser.until(&format!("return ({CELLS})('gifts')?.['Waiting now'] > 0"));
    look(&browser, "under-load");
    waiting.shutdown().await;
    until_row(&browser, "gifts", "Waiting now", "0");

    // One app is stopped, the other goes on.
    for _ in 0..20 {
        call(&world, "shop", READ, "orders", "3s").await;
    }
    until_row(&browser, "shop", "State", "stopped");
    assert_eq!(row(&browser, "live")["State"], "in service");
    assert_eq!(text_of(&browser, ".verdict h2"), "In trouble");
    assert!(text_of(&browser, ".stopped").contains("secret_key_file"));
    look(&browser, "stopped");
    assert_eq!(browser.complaints(), [""; 0]);

    world.end().await;
    browser.until("return document.getElementById('fresh').innerText.includes('no answer since then')");
    browser.picture("lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_it_is_text_and_everybody_can_read_it() {
    let stopper = Stopper::new();
    let address = serve(hostile(), &stopper).await;
    let browser = Browser::start();
    // Without script it is a snapshot.
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.open(&format!("http://{address}/"));
    let snapshot = browser.source();
    browser.picture("without-script");
    assert!(
        snapshot.contains("In trouble") && snapshot.contains("id=\"pause\" type=\"button\""),
        "{snapshot}"
    );
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": false }));

    browser.open(&format!("http://{address}/"));
    // Time for the script to take the page over once more.
    browser.run("document.getElementById('icon').setAttribute('data-old', '')");
    browser.until("return !document.getElementById('icon').hasAttribute('data-old')");
    let odd = "return [window.pwned ?? null, document.scripts.length, document.querySelectorAll('img, iframe').length]";
    assert_eq!(browser.run(odd), json!([null, 1, 0]));
    assert_eq!(text_of(&browser, "td.name").lines().next(), Some(HOSTILE));
    assert!(text_of(&browser, ".errors").contains(HOSTILE));
    look(&browser, "hostile");
    assert_eq!(browser.complaints(), [""; 0]);

    browser.seen_by(WIDE, false);
    keyboard(&browser);
    labels(&browser);

    let degraded = serve(without_store(), &stopper).await;
    browser.open(&format!("http://{degraded}/"));
    assert_eq!(text_of(&browser, ".verdict h2"), "Worth a look");
    assert!(text_of(&browser, ".findings").contains("connection refused"));
    look(&browser, "degraded");
    stopper.advance(usersig_gateway::net::stop::Phase::Killed);
}

/// Everything can be reached and used with the keyboard, and shows that it has the focus.
fn keyboard(browser: &Browser) {
    browser.run("document.activeElement.blur(); window.scrollTo(0, 0)");
    let mut reached = Vec::new();
    for _ in 0..browser.run("return document.querySelectorAll('a, button').length").as_u64().unwrap() {
        browser.press("\u{E004}"); // Tab
        let outline = "return getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(browser.run(outline), "solid");
        reached.push(text_of(browser, ":focus"));
    }
    assert_eq!(reached.first().map(String::as_str), Some("Pause"));
    assert!(reached.contains(&"/metrics".to_owned()), "{reached:?}");
    browser.run("document.getElementById('pause').focus()");
    browser.press("\u{E007}"); // Enter
    assert_eq!(text_of(browser, ":focus"), "Resume");
    browser.press(" ");
    assert_eq!(text_of(browser, ":focus"), "Pause");
}

/// What a screen reader is told, as the browser's own accessibility tree has it.
fn labels(browser: &Browser) {
    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let named = |role: &str| -> Vec<&str> {
        let of_role = nodes.iter().filter(|node| node["ignored"] == false && node["role"]["value"] == role);
        of_role.map(|node| node["name"]["value"].as_str().unwrap_or_default()).collect()
    };
    assert_eq!(named("heading")[0], "usersig-gateway 1.2.3");
    assert_eq!(named("button"), ["Pause updating"]);
    assert_eq!(named("status").len(), 1);
    assert_eq!(named("navigation"), ["Routes"]);
    assert!(["App", "Ceiling in use", "Caller"].iter().all(|name| named("columnheader").contains(name)));
    for role in ["link", "columnheader", "heading", "cell"] {
        assert!(!named(role).is_empty() && (role == "cell" || !named(role).contains(&"")), "{role}");
    }
    // Whatever is a picture only is hidden from it.
    assert_eq!(named("image"), [""; 0]);
    assert_eq!(browser.run("return document.documentElement.lang"), "en");
}

/// Looks at the page in light and dark and on a phone: leaves pictures, and holds what can be held against rules.
fn look(browser: &Browser, state: &str) {
    for (size, size_name) in [(WIDE, "wide"), (TABLET, "tablet"), (PHONE, "phone")] {
        for (dark, scheme) in [(false, "light"), (true, "dark")] {
            browser.seen_by(size, dark);
            browser.picture(&format!("{state}-{size_name}-{scheme}"));
            let faint = browser.run(FAINT_TEXTS);
            assert_eq!(faint, json!([]), "{state}, {size_name}, {scheme}: text of too little contrast");
            assert_eq!(browser.run(CUT_OFF), json!([]), "{state}, {size_name}: it does not fit");
        }
    }
    browser.seen_by(WIDE, false);
}

const WIDE: (u32, u32) = (1280, 900);
const TABLET: (u32, u32) = (820, 1180);
const PHONE: (u32, u32) = (390, 844);

/// What is wider than its place.
const CUT_OFF: &str = "return [...document.querySelectorAll('html, section, td, li, dd, dt, p, h2')]
  .filter((element) => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline')
  .map((element) => element.outerHTML.slice(0, 200))";

/// Texts whose contrast to what is behind them is below 4.5 (WCAG 2.2, success criterion 1.4.3).
const FAINT_TEXTS: &str = r"
const channels = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = (color) => {
  const [r, g, b] = channels(color).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if ((channels(color)[3] ?? 1) > 0) return color;
  }
  return 'rgb(255, 255, 255)';
};
const faint = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || element.tagName === 'SCRIPT' || element.hidden) continue;
  const [a, b] = [getComputedStyle(element).color, behind(element)].map(luminance).sort().reverse();
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) faint.push([texts.currentNode.data, contrast]);
}
return faint;";

/// A function from the name in a row's first cell to its other cells by their labels.
const CELLS: &str = "(name) => {
  for (const row of document.querySelectorAll('tbody tr')) {
    if (row.cells[0].innerText.split('\\n')[0].trim() !== name) continue;
    return Object.fromEntries([...row.cells].slice(1).map((cell) =>
      [cell.dataset.label, cell.innerText.trim().replace(/\\s*\\n\\s*/g, ' ')]));
  }
}";

fn row(browser: &Browser, name: &str) -> Value {
    browser.run(&format!("return ({CELLS})({})", json!(name)))
}

fn until_row(browser: &Browser, name: &str, label: &str, value: &str) -> Value {
    let (name, label, value) = (json!(name), json!(label), json!(value));
    browser.until(&format!("const cells = ({CELLS})({name}); return cells?.[{label}] === {value} && cells"))
}

fn text_of(browser: &Browser, selector: &str) -> String {
    let text = browser.run(&format!("return document.querySelector({})?.innerText", json!(selector)));
    text.as_str().unwrap_or_else(|| panic!("there is no {selector}")).trim().to_owned()
}

/// The app `live`, and `shop`, which has a wrong key.
async fn world_of_two_apps() -> World {
    let mut builder = Builder::new().tuned(|live| {
        let first = App::clone(live.apps.all()[0]);
        let shop = App {
            name: "shop".parse().unwrap(),
            sdkappid: "1400000002".parse().unwrap(),
            keys: vec![SecretKey::new("FAKEWRONG").unwrap()],
            ..first
        };
        live.apps.add(shop, false).unwrap();
        live.upstream.total_timeout = Duration::from_secs(90);
        live.ceiling.max_wait = Duration::from_secs(60);
        let hourly = Ceiling { limit: NonZeroU32::MIN, period: Duration::from_secs(3600) };
        live.ceiling.api.insert(api(RARE), ApiCeiling::Periods(vec![hourly]));
    });
    let right = SecretKey::new(KEY).unwrap();
    builder.sandbox.apps.push(SandboxApp::new("1400000002".parse().unwrap(), vec![right]));
    builder.start().await
}

fn request(
    app: &str,
    api: &str,
    caller: &str,
    max_wait: &str,
) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = post(&format!("/apps/{app}/v4/{api}"), "{}");
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert("x-caller", HeaderValue::from_str(caller).unwrap());
    headers.insert("x-gateway-max-wait", HeaderValue::from_str(max_wait).unwrap());
    request
}

async fn call(world: &World, app: &str, api: &str, caller: &str, max_wait: &str) -> u16 {
    world.send(request(app, api, caller, max_wait)).await.status.as_u16()
}

const HOSTILE: &str = "<img src=x onerror=pwned=1><script>pwned=1</script>'\"&";

/// A status in which every text is markup.
fn hostile() -> Status {
    let text = || HOSTILE.to_owned();
    Status {
        version: "1.2.3".to_owned(),
        now: 1_700_000_000,
        readiness: ReadinessState::NotReady(vec![text()]),
        window_seconds: 60.0,
        apps: vec![AppStatus {
            name: text(),
            sdkappid: 1,
            region: Some(text()),
            endpoints: vec![EndpointStatus {
                url: text(),
                healthy: false,
                in_use: false,
                clock_differs: true,
            }],
            usersig_expires_at: None,
            tripped: Some(TrippedApp {
                reason: text(),
                diagnosis: text(),
                error_code: 60026,
                probe_in_seconds: 3,
            }),
        }],
        apis: vec![ApiStatus {
            app: text(),
            api: text(),
            codes: vec![CodeStatus { error_code: Some(60026), outcome: "auth", calls: 3 }],
            ..ApiStatus::default()
        }],
        callers: vec![CallerStatus { name: text(), calls: 3, failed: 3, ..CallerStatus::default() }],
        errors: vec![ErrorStatus {
            at: 1_700_000_000,
            calls: 3,
            app: text(),
            api: text(),
            caller: text(),
            error_code: 60026,
            outcome: "auth",
            reason: None,
            meaning: None,
            remedy: "set region",
            request_id: text(),
            tencent_request_id: Some(text()),
        }],
        ..Status::default()
    }
}

/// Several gateways shared their ceilings, until the store was lost.
fn without_store() -> Status {
    let error = Some("connection refused".to_owned());
    Status {
        readiness: ReadinessState::Ready,
        window_seconds: 60.0,
        store: StoreStatus { mode: StoreMode::Degraded, for_seconds: Some(12), replicas: Some(3), error },
        ..Status::default()
    }
}

/// An admin listener that tells this status.
async fn serve(status: Status, stopper: &Stopper) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = State {
        metrics: Metrics::new("1.2.3"),
        readiness: Readiness::new(),
        status: Arc::new(move || status.clone()),
        orders: Orders { token: Arc::default(), to: tokio::sync::mpsc::channel(1).0 },
    };
    tokio::spawn(admin::serve(listener.into(), state, stopper.signal()));
    address
}
