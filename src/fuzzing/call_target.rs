//! A request target as it stands in a request line: which app and API it means, and what is sent on of it.

use std::sync::LazyLock;

use http::Uri;

use crate::gateway::forward::rewrite::{Auth, BadUrl, path_and_query};
use crate::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use crate::model::endpoint::Endpoint;
use crate::net::client::Roots;
use crate::sandbox::auth::Query;

/// Takes one request target to its app, its API and its signed form.
pub fn run(data: &[u8]) {
    // hyper has read a request's target in this way before the gateway sees it.
    let Ok(uri) = Uri::try_from(data) else { return };
    let (path, query) = (uri.path(), uri.query());
    let resolved = resolve(path, query, &KNOWN.apps, &KNOWN.apis);
    let expected = expected(path, query);
    match (&resolved, expected) {
        (Ok(target), Some((sdkappid, url_path))) => {
            assert_eq!((target.app.sdkappid.number(), target.api.url_path.as_str()), (sdkappid, url_path));
            is_rewritten(&target.app, url_path, query);
        }
        (Err(error), None) => {
            let told = error.to_string();
            assert!(!told.contains(char::is_control), "{told:?} is one line");
            assert!(told.len() < 1_000, "{} bytes", told.len());
        }
        (_, expected) => panic!("{resolved:?}, expected {expected:?}"),
    }
}

/// The app and the URL path that are meant, if any: the narrow forms and nothing else.
fn expected<'a>(path: &'a str, query: Option<&str>) -> Option<(u32, &'a str)> {
    let (name, url_path) = match path.strip_prefix("/apps/") {
        Some(rest) => {
            let end = rest.find('/')?;
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, path),
    };
    let ["", "v4" | "v1", service, command] = url_path.split('/').collect::<Vec<_>>()[..] else {
        return None;
    };
    let plain = |part: &str| {
        (1..=64).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if !plain(service) || !plain(command) {
        return None;
    }
    let named = match name {
        Some(name) => Some(APPS.iter().find(|(known, _)| *known == name)?.1),
        None => None,
    };
    let mut asked =
        parameters(query).filter(|parameter| name_of(parameter) == b"sdkappid").map(|parameter| {
            let value = parameter.split_once('=').map_or("", |(_, value)| value);
            let digits = String::from_utf8(decoded(value)).ok()?;
            let number: u32 = digits.parse().ok()?;
            (digits.bytes().all(|b| b.is_ascii_digit()) && number != 0).then_some(number)
        });
    let sdkappid = match asked.next() {
        Some(first) => {
            let first = first?;
            if asked.any(|other| other != Some(first)) || named.is_some_and(|named| named != first) {
                return None;
            }
            first
        }
        None => named.unwrap_or(APPS[0].1),
    };
    APPS.iter().any(|&(_, known)| known == sdkappid).then_some((sdkappid, url_path))
}

/// The five parameters are there once, ours, and first; everything else is as it was.
fn is_rewritten(app: &App, url_path: &str, query: Option<&str>) {
    let auth = Auth { sdkappid: app.sdkappid, identifier: &app.identifier, usersig: USERSIG, random: 7 };
    let signed = match path_and_query(url_path, query, &auth) {
        Ok(signed) => signed,
        Err(BadUrl::TooLong(length)) => return assert!(length > 65_534),
        Err(BadUrl::Character) => panic!("hyper took the query {query:?}"),
    };
    let sdkappid = app.sdkappid.to_string();
    let mut expected = format!(
        "{url_path}?sdkappid={sdkappid}&identifier=administrator&usersig={USERSIG}&random=7&contenttype=json"
    );
    for parameter in parameters(query) {
        if !FIVE.contains(&&*name_of(parameter)) {
            expected.push('&');
            expected.push_str(parameter);
        }
    }
    assert_eq!(signed.expose(), expected);

    let (_, query) = expected.split_once('?').expect("the five are a query");
    let seen = Query::parse(query).parameters();
    let seen = seen.lists().map(|(_, values)| values.join(" and "));
    assert_eq!(seen, [&sdkappid, "administrator", USERSIG, "7", "json"], "as the sandbox reads it");
}

fn parameters(query: Option<&str>) -> impl Iterator<Item = &str> {
    query.into_iter().filter(|query| !query.is_empty()).flat_map(|query| query.split('&'))
}

/// A parameter's name as a server compares it that decodes it and does not mind its case.
fn name_of(parameter: &str) -> Vec<u8> {
    decoded(parameter.split('=').next().unwrap_or_default()).to_ascii_lowercase()
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |at: usize| behind.get(at).and_then(|&b| char::from(b).to_digit(16));
        let (byte, taken) = match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => ((16 * high + low) as u8, 2),
            _ => (*first, 0),
        };
        bytes.push(byte);
        rest = &behind[taken..];
    }
    bytes
}

/// The configured apps, the default one first.
const APPS: [(&str, u32); 2] = [("live", 1_400_000_001), ("chat.app-2", 20_000_002)];

const FIVE: [&[u8]; 5] = [b"sdkappid", b"identifier", b"usersig", b"random", b"contenttype"];

const USERSIG: &str = "eJwtzM0KgkAAxPF32XPY*rfTn-_C-";

struct Known {
    apps: Apps,
    apis: Apis,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let mut apps = Apps::default();
    for (name, sdkappid) in APPS {
        let app = App {
            name: name.parse().expect("a plain name"),
            sdkappid: u64::from(sdkappid).try_into().expect("a positive number"),
            identifier: "administrator".parse().expect("13 letters"),
            keys: Vec::new(),
            region: None,
            endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
            extra_roots: Roots::default(),
            index: Default::default(),
            counted: Default::default(),
        };
        apps.add(app, name == APPS[0].0).expect("names and numbers differ");
    }
    Known { apps, apis: Apis::new() }
});
