//! The headers that a caller may send: its name, how urgent its call is (`priority`, RFC 9218, against a full parser of
//! RFC 9651), how long the call may wait and take, and its id.
//!
//! Each line of the input is a header: the first character says which, the rest is its value.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::gateway::caller::{CallerHeader, NO_NAME, RequestId, Settings, identify};
use crate::net::listener::Peer;

/// Reads one caller's headers.
pub fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|&b| b == b'\n') {
        let Some((sign, value)) = line.split_first() else { continue };
        let Some((_, name)) = HEADERS.iter().find(|(known, _)| known == sign) else { continue };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(*name, value);
        }
    }
    let caller = identify(&headers, Peer::Uid(None), &Settings::default());
    let wishes = caller.wishes();

    let mut ignored = Vec::new();
    let mut agreed = |header, expected: Result<bool, ()>| match expected {
        Ok(agreed) => assert!(agreed, "{header:?} is {caller:?} of {headers:?}"),
        Err(()) => ignored.push(header),
    };
    let name = single(&headers, "x-caller", |text| visible(text, 64));
    agreed(CallerHeader::Caller, name.map(|name| **caller.label() == *name.unwrap_or(NO_NAME)));
    let urgency = urgency(&headers);
    agreed(CallerHeader::Priority, urgency.map(|urgency| wishes.priority.urgency() == urgency));
    let max_wait = single(&headers, "x-gateway-max-wait", duration);
    agreed(CallerHeader::MaxWait, max_wait.map(|max_wait| wishes.max_wait == max_wait));
    let timeout = single(&headers, "x-gateway-timeout", duration);
    agreed(CallerHeader::Timeout, timeout.map(|timeout| wishes.timeout == timeout));
    let id = single(&headers, "x-request-id", |text| visible(text, 128));
    agreed(CallerHeader::RequestId, id.map(|id| wishes.request_id.as_ref().map(RequestId::as_str) == id));
    assert_eq!(caller.ignored(), ignored, "{headers:?}");

    // What was ignored is as if it had not been there.
    for header in caller.ignored() {
        match header {
            CallerHeader::Caller => assert_eq!(&**caller.label(), NO_NAME),
            CallerHeader::Priority => assert_eq!(wishes.priority.urgency(), 3),
            CallerHeader::MaxWait => assert_eq!(wishes.max_wait, None),
            CallerHeader::Timeout => assert_eq!(wishes.timeout, None),
            CallerHeader::RequestId => assert_eq!(wishes.request_id, None),
        }
    }
}

/// What a header says that may stand once; `Err` when it says nothing that can be understood.
fn single<'a, T>(
    headers: &'a HeaderMap,
    name: &str,
    read: impl Fn(&'a str) -> Option<T>,
) -> Result<Option<T>, ()> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    match lines[..] {
        [] => Ok(None),
        [line] => line.to_str().ok().and_then(|text| read(text.trim_ascii())).map(Some).ok_or(()),
        _ => Err(()),
    }
}

fn visible(text: &str, most: usize) -> Option<&str> {
    let fits = (1..=most).contains(&text.len()) && text.chars().all(|c| ('!'..='~').contains(&c));
    fits.then_some(text)
}

fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let each: u128 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u128 = text[..text.len() - unit.len()].parse().ok()?;
    let milliseconds = number.checked_mul(each).filter(|&all| all <= 3_650 * 86_400_000)?;
    Some(Duration::from_millis(milliseconds.try_into().expect("at most ten years")))
}

/// The urgency of all lines together, as RFC 9651 and RFC 9218 have it.
fn urgency(headers: &HeaderMap) -> Result<u8, ()> {
    let mut urgency = 3;
    for line in headers.get_all("priority") {
        let members: Dictionary = Parser::new(line.as_bytes()).parse().map_err(|_| ())?;
        match members.get("u") {
            None => {}
            Some(ListEntry::Item(item)) => match &item.bare_item {
                BareItem::Integer(number) => {
                    urgency = u8::try_from(*number).ok().filter(|&number| number <= 7).ok_or(())?;
                }
                _ => return Err(()),
            },
            Some(ListEntry::InnerList(_)) => return Err(()),
        }
    }
    Ok(urgency)
}

const HEADERS: [(u8, &str); 5] = [
    (b'c', "x-caller"),
    (b'p', "priority"),
    (b'w', "x-gateway-max-wait"),
    (b't', "x-gateway-timeout"),
    (b'i', "x-request-id"),
];
