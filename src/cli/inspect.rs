//! `inspect`: reads a UserSig and tells what it says, until when it counts, and whether a configured key made it.
//!
//! It shows claims and a judgement; the signature and the key are never printed.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use super::Failure;
use super::config_args::ConfigArgs;
use crate::clock::{SystemClock, WallClock as _};
use crate::gateway::credentials::Verdict;
use crate::gateway::credentials::usersig::{Claims, MAX_TEXT, decode};
use crate::gateway::target::Apps;

/// Decode a UserSig: whose it is and until when; verify it when the key is known
///
/// Exit 0 when it can be read, counts now and, with --config, was made with one of the app's keys; else 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The UserSig, or "-" to read it from standard input, where other users of this machine cannot see it
    usersig: Source,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let text = args.usersig.read(std::io::stdin().lock())?;
    let apps = match args.config.is_given() {
        true => Some(args.config.load()?.settings.live.apps),
        false => None,
    };
    inspect(&text, apps.as_ref(), SystemClock.unix_seconds(), out)
}

/// Writes what the UserSig says, then fails with what is wrong about it, if anything.
fn inspect(text: &str, apps: Option<&Apps>, now: u64, out: &mut impl Write) -> Result<(), Failure> {
    let claims = decode(text.trim()).map_err(|error| Failure::new(format!("this is no UserSig: {error}")))?;
    let (signed_at, expires_at) = (claims.time, claims.expires_at());
    writeln!(out, "identifier  {}", claims.identifier)?;
    writeln!(out, "sdkappid    {}", claims.sdkappid)?;
    writeln!(out, "signed at   {} ({})", rfc3339(signed_at), from_now(signed_at, now))?;
    writeln!(out, "expires at  {} ({})", rfc3339(expires_at), from_now(expires_at, now))?;
    match &claims.userbuf {
        Some(userbuf) => writeln!(out, "userbuf     {} bytes", userbuf.as_bytes().len())?,
        None => writeln!(out, "userbuf     none")?,
    }
    let time = judge_time(&claims, now);
    match &time {
        Ok(()) => writeln!(out, "valid now   yes")?,
        Err(problem) => writeln!(out, "valid now   no: {problem}")?,
    }
    let maker = apps.map(|apps| find_key(&claims, apps));
    match &maker {
        Some(Ok(found)) => writeln!(out, "signature   {found}")?,
        Some(Err(problem)) => writeln!(out, "signature   {problem}")?,
        None => writeln!(out, "signature   not checked: give --config to check it with the app's keys")?,
    }
    let problems: Vec<_> = time.err().into_iter().chain(maker.and_then(Result::err)).collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::new(problems.join("; "))) }
}

fn judge_time(claims: &Claims, now: u64) -> Result<(), String> {
    match claims.lifetime().verdict(now) {
        Verdict::Valid => Ok(()),
        Verdict::Expired => Err("the UserSig has expired".into()),
        Verdict::FromFuture => Err("the UserSig was signed in the future, by this machine's clock".into()),
    }
}

/// Which key of which app made it, or why that cannot be said.
fn find_key(claims: &Claims, apps: &Apps) -> Result<String, String> {
    let Some(app) = apps.with_sdkappid(claims.sdkappid) else {
        return Err(format!("app unknown: no app with sdkappid {} is configured", claims.sdkappid));
    };
    match (1..).zip(&app.keys).find(|(_, key)| claims.verify(key)) {
        Some((number, _)) => Ok(format!("made with key {number} of app {}", app.name)),
        None => Err(format!("not made with any secret key of app {} ({} tried)", app.name, app.keys.len())),
    }
}

/// Where the UserSig comes from.
#[derive(Clone)]
enum Source {
    StandardInput,
    Given(String),
}

impl Source {
    fn read(&self, stdin: impl Read) -> Result<String, Failure> {
        let given = match self {
            Self::Given(text) => return Ok(text.clone()),
            Self::StandardInput => stdin,
        };
        // White space around it is let pass, within reason.
        let bound = 2 * MAX_TEXT;
        let mut bytes = Vec::new();
        given.take(bound as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bound {
            return Err(Failure::new(format!(
                "standard input holds more than {bound} bytes: no UserSig is so long"
            )));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::StandardInput } else { Self::Given(text.to_owned()) })
    }
}

/// A UserSig is never shown.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StandardInput => "StandardInput",
            Self::Given(_) => "Given(redacted)",
        })
    }
}

/// A second since 1970-01-01 00:00 UTC as RFC 3339 writes it, or as its number where the year has five digits.
fn rfc3339(unix_seconds: u64) -> String {
    if unix_seconds > LAST_OF_9999 {
        return format!("second {unix_seconds}, after the year 9999");
    }
    let (mut days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let mut year = 1970;
    while days >= days_of(year) {
        days -= days_of(year);
        year += 1;
    }
    let february = days_of(year) - 337;
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
}

fn days_of(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    if leap { 366 } else { 365 }
}

/// 9999-12-31T23:59:59Z.
const LAST_OF_9999: u64 = 253_402_300_799;

/// How far a moment is from now: `in 1d 2h`, `30s ago`.
fn from_now(moment: u64, now: u64) -> String {
    match moment.cmp(&now) {
        Ordering::Less => format!("{} ago", span(now - moment)),
        Ordering::Equal => "now".to_owned(),
        Ordering::Greater => format!("in {}", span(moment - now)),
    }
}

/// A number of seconds in its two largest units.
fn span(seconds: u64) -> String {
    let [first, second] = match seconds {
        86_400.. => [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h")],
        3_600.. => [(seconds / 3_600, "h"), (seconds / 60 % 60, "m")],
        60.. => [(seconds / 60, "m"), (seconds % 60, "s")],
        _ => [(seconds, "s"), (0, "")],
    };
    match second {
        (0, _) => format!("{}{}", first.0, first.1),
        second => format!("{}{} {}{}", first.0, first.1, second.0, second.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sign::tests::{app, apps};
    use crate::gateway::credentials::userbuf::Userbuf;
    use crate::gateway::credentials::usersig::{SigningRequest, sign};
    use crate::model::secret::SecretKey;

    const START: u64 = 1_700_000_000;

    /// What the command writes, and why it fails.
    fn seen(text: &str, apps: Option<&Apps>, now: u64) -> (String, Result<(), String>) {
        let mut out = Vec::new();
        let result = inspect(text, apps, now, &mut out).map_err(|failure| {
            assert_eq!(failure.status, 1);
            failure.message
        });
        (String::from_utf8(out).unwrap(), result)
    }

    fn token(sdkappid: u32, key: &SecretKey, userbuf: Option<&Userbuf>) -> String {
        let usersig = sign(&SigningRequest {
            key,
            sdkappid: u64::from(sdkappid).try_into().unwrap(),
            identifier: &"administrator".parse().unwrap(),
            time: START,
            expire: 86_400,
            userbuf,
        });
        usersig.expose().to_owned()
    }

    #[test]
    fn tells_what_it_says() {
        let key = &app("live", 1_400_000_001).keys[0];
        let text = token(1_400_000_001, key, None);
        let (shown, result) = seen(&format!("  {text}\n"), None, START + 3_661);
        assert_eq!(
            shown,
            "identifier  administrator\n\
             sdkappid    1400000001\n\
             signed at   2023-11-14T22:13:20Z (1h 1m ago)\n\
             expires at  2023-11-15T22:13:20Z (in 22h 58m)\n\
             userbuf     none\n\
             valid now   yes\n\
             signature   not checked: give --config to check it with the app's keys\n"
        );
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn tells_which_key_made_it() {
        let mut rotated = app("live", 1_400_000_001);
        let older = rotated.keys[0].clone();
        rotated.keys.insert(0, SecretKey::new("NEWER").unwrap());
        let mut all = Apps::default();
        all.add(rotated, true).unwrap();

        let userbuf = Userbuf::new(b"abc").unwrap();
        let (shown, result) = seen(&token(1_400_000_001, &older, Some(&userbuf)), Some(&all), START);
        assert!(shown.contains("userbuf     3 bytes\n"), "{shown}");
        assert!(shown.ends_with("signature   made with key 2 of app live\n"), "{shown}");
        assert_eq!(result, Ok(()));

        let wrong = "not made with any secret key of app live (2 tried)";
        let (shown, result) =
            seen(&token(1_400_000_001, &SecretKey::new("WRONG").unwrap(), None), Some(&all), START);
        assert!(shown.ends_with(&format!("signature   {wrong}\n")), "{shown}");
        assert_eq!(result, Err(wrong.into()));

        let unknown = "app unknown: no app with sdkappid 1400000002 is configured";
        assert_eq!(seen(&token(1_400_000_002, &older, None), Some(&all), START).1, Err(unknown.into()));
    }

    #[test]
    fn tells_all_that_is_wrong() {
        let text = token(1_400_000_001, &app("live", 1_400_000_001).keys[0], None);
        let (shown, result) = seen(&text, None, START + 86_400);
        assert!(shown.contains("valid now   no: the UserSig has expired\n"), "{shown}");
        assert_eq!(result, Err("the UserSig has expired".into()));
        let future = "the UserSig was signed in the future, by this machine's clock";
        assert_eq!(seen(&text, None, START - 61).1, Err(future.into()));
        assert_eq!(seen(&text, None, START - 60).1, Ok(()));
        let other = apps([("test", 2, true)]);
        assert_eq!(
            seen(&text, Some(&other), START + 86_400).1,
            Err("the UserSig has expired; app unknown: no app with sdkappid 1400000001 is configured".into())
        );
    }

    #[test]
    fn what_is_no_usersig_is_explained() {
        let (shown, result) = seen("a b", None, START);
        assert_eq!(shown, "");
        assert_eq!(
            result,
            Err("this is no UserSig: it is not whole, or has a character other than A-Z a-z 0-9 * - and _ at the end"
                .into())
        );
    }

    #[test]
    fn shows_neither_signature_nor_key() {
        let live = app("live", 1_400_000_001);
        let text = token(1_400_000_001, &live.keys[0], None);
        let (shown, _) = seen(&text, Some(&apps([("live", 1_400_000_001, true)])), START);
        let key = std::str::from_utf8(live.keys[0].expose()).unwrap();
        assert!(!shown.contains(key) && !shown.contains(&text) && !shown.contains('='), "{shown}");
        let given: Source = text.parse().unwrap();
        assert_eq!(format!("{given:?}"), "Given(redacted)");
    }

    #[test]
    fn standard_input_has_a_bound() {
        let stdin: Source = "-".parse().unwrap();
        let bound = 2 * MAX_TEXT;
        assert_eq!(stdin.read(vec![b'A'; bound].as_slice()).unwrap().len(), bound);
        let failure = stdin.read(std::io::repeat(b'A')).unwrap_err();
        assert_eq!(failure.message, "standard input holds more than 16384 bytes: no UserSig is so long");
        assert_eq!(stdin.read(&b"\xff"[..]).unwrap(), "\u{fffd}");
        let given: Source = "eJw".parse().unwrap();
        assert_eq!(given.read(std::io::empty()).unwrap(), "eJw");
    }

    #[test]
    fn moments_are_written_as_rfc_3339_says() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (1_704_067_200, "2024-01-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_OF_9999, "9999-12-31T23:59:59Z"),
            (u64::MAX, "second 18446744073709551615, after the year 9999"),
        ] {
            assert_eq!(rfc3339(second), text);
        }
    }

    #[test]
    fn distances_have_two_units() {
        for (moment, text) in [
            (1_000_000, "now"),
            (1_000_001, "in 1s"),
            (999_941, "59s ago"),
            (999_940, "1m ago"),
            (999_939, "1m 1s ago"),
            (1_003_600, "in 1h"),
            (1_000_000 + 2 * 86_400 + 59, "in 2d"),
            (1_000_000 + 2 * 86_400 + 3_600, "in 2d 1h"),
        ] {
            assert_eq!(from_now(moment, 1_000_000), text);
        }
    }
}
