use super::*;

/// The tables of documented codes: code or codes, meaning, what the gateway does.
const DOCUMENTED: &str = include_str!("../error-codes.md");

#[test]
fn the_tables_are_in_order_and_no_row_overlaps() {
    for table in [V4, V1] {
        assert!(table.iter().all(|row| row.first <= row.last));
        assert!(table.is_sorted_by(|a, b| a.last < b.first));
        assert!(table.iter().all(|row| matches!(row.class, TencentError | Auth | Throttled)));
    }
}

#[test]
fn every_documented_code_has_its_row_and_its_verdict() {
    let mut codes = 0;
    for (family, first, last, action) in documented() {
        for code in first..=last {
            codes += 1;
            let row = row(family, ErrorCode(code)).unwrap_or_else(|| panic!("{code} is missing"));
            assert!(does(row.verdict, &action), "{code}: {action:?} against {:?}", row.verdict);
        }
    }
    assert!(codes > 400, "{codes}: the file was read");
}

#[test]
fn no_row_is_made_up() {
    let documented: Vec<_> = documented().collect();
    for (family, table) in [(Family::V4, V4), (Family::V1, V1)] {
        for code in table.iter().flat_map(|row| row.first..=row.last) {
            let known = |&(of, first, last, _): &_| of == family && (first..=last).contains(&code);
            assert!(documented.iter().any(known), "{code}");
        }
    }
}

#[test]
fn codes_are_classed_by_family_first() {
    let v4 = |code| class(Family::V4, ErrorCode(code));
    let v1 = |code| class(Family::V1, ErrorCode(code));
    assert_eq!((v4(0), v1(0)), ((Success, HandOver), (Success, HandOver)));
    assert_eq!((v4(60007).0, v4(100_413).0), (Throttled, Throttled));
    assert_eq!(v4(70001), (Auth, Resign(Then::Trip(WrongClock))));
    assert_eq!(v1(70001), (TencentError, HandOver));
    assert_eq!(v1(60007), (TencentError, HandOver));
    for code in [1, -1, 9999, 10006, 10023, 60999, 100_004, 100_021, 102_201, i64::MAX, i64::MIN] {
        assert_eq!((v4(code), v1(code)), ((TencentError, HandOver), (TencentError, HandOver)), "{code}");
    }
    assert_eq!(meaning(Family::V4, ErrorCode(70009)), Some("the UserSig was made with another app's key"));
    assert_eq!(meaning(Family::V4, ErrorCode(1)), None);
}

#[test]
fn an_apps_own_failures_show_that_it_is_let_in() {
    let let_in = |code| is_let_in(Family::V4, ErrorCode(code));
    assert!([0, 100_004, 70107, 30001, 72010, 1].into_iter().all(let_in));
    assert!(![60009, 60007, 60008, 70001, 70009, 60026, 70050, 60017, 100_001].into_iter().any(let_in));
}

#[test]
fn each_diagnosis_names_a_setting_or_what_else_to_change() {
    let found: std::collections::HashSet<_> = V4.iter().filter_map(|row| diagnosis(row.verdict)).collect();
    assert_eq!(found.len(), 12);
    let words: std::collections::HashSet<_> = found.iter().map(ToString::to_string).collect();
    let reasons: std::collections::HashSet<_> = found.iter().map(|diagnosis| diagnosis.reason()).collect();
    assert_eq!((words.len(), reasons.len()), (12, 12), "each its own");
    for (code, named) in [
        (70009, "secret_key_file"),
        (60026, "region"),
        (70020, "region"),
        (60010, "identifier"),
        (60021, "upstream.egress_proxy"),
        (60020, "plan"),
        (60016, "disabled"),
        (60028, "trial"),
        (70001, "clock"),
    ] {
        let words = diagnosis(class(Family::V4, ErrorCode(code)).1).unwrap().to_string();
        assert!(words.contains(named), "{code}: {words}");
    }
}

fn diagnosis(verdict: Verdict) -> Option<crate::gateway::outcome::Diagnosis> {
    match verdict {
        Trip(diagnosis) | NextKey(diagnosis) | Resign(Then::NextKey(diagnosis) | Then::Trip(diagnosis)) => {
            Some(diagnosis)
        }
        Resign(Then::Retry) | HandOver | Retry { .. } | BackOff(_) | QuietSignatures => None,
    }
}

/// Whether a verdict does what the documentation's table says in its own words.
fn does(verdict: Verdict, action: &str) -> bool {
    match action {
        "surface" => verdict == HandOver,
        "retry" => verdict == RETRY,
        "retry; outcome unknown" => verdict == RETRY_UNKNOWN,
        "trip" => matches!(verdict, Trip(_)),
        "trip; check region" => verdict == Trip(WrongRegion),
        "re-sign once, then retry" => verdict == Resign(Then::Retry),
        "re-sign once, then trip" => matches!(verdict, Resign(Then::Trip(_))),
        "re-sign once, next key, then trip" => matches!(verdict, Resign(Then::NextKey(_))),
        "next key, then trip" => matches!(verdict, NextKey(_)),
        "back off: this API" => verdict == BackOff(Throttle::Api),
        "back off: the app" => verdict == BackOff(Throttle::App),
        "back off: pause" => verdict == BackOff(Throttle::Pause),
        "back off: a second" => verdict == BackOff(Throttle::Second),
        "60 s of quiet, then one probe" => verdict == QuietSignatures,
        other => panic!("{other:?} is no action that this test knows"),
    }
}

/// The rows of the file, each `first` to `last` of a family with its action.
fn documented() -> impl Iterator<Item = (Family, i64, i64, String)> {
    let (v4, v1) = DOCUMENTED.split_once("\n## Old Call").unwrap();
    let rows = |family, text: &'static str| {
        text.lines().filter_map(move |line| {
            let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            let [codes, _, action] = cells[..] else { panic!("{line}") };
            (!matches!(codes, "code" | "---")).then_some((family, codes, action))
        })
    };
    rows(Family::V4, v4).chain(rows(Family::V1, v1)).flat_map(|(family, codes, action)| {
        codes.split(", ").map(move |part| {
            let (first, last) = part.split_once('–').unwrap_or((part, part));
            (family, first.parse().unwrap(), last.parse().unwrap(), action.to_owned())
        })
    })
}

#[test]
fn every_kind_of_code_has_a_remedy_that_fits() {
    for (family, code, words) in [
        (Family::V4, 60026, "set region"),
        (Family::V4, 70009, "secret_key_file"),
        (Family::V4, 70001, "clock"),
        (Family::V4, 70050, "something else signs"),
        (Family::V4, 60007, "ceiling.api"),
        (Family::V4, 60011, "ceiling.app_per_second"),
        (Family::V4, 60008, "RequestId"),
        (Family::V4, 60004, "check --online"),
        (Family::V4, 72010, "the caller"),
        (Family::V4, 100_302, "the caller's own affair"),
        (Family::V4, 123_456, "the caller's own affair"),
        (Family::V1, 70001, "the caller's own affair"),
    ] {
        let remedy = remedy(family, ErrorCode(code));
        assert!(remedy.contains(words), "{code}: {remedy}");
    }
}
