//! Faults by request: what shall go wrong with the next calls.
//!
//! Faults wait in a queue. A call takes the first one that is meant for its API; a fault leaves the queue when it
//! has been taken as often as it says. So two faults for the same API come one after the other, never together.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::model::api::ApiName;
use crate::model::duration;
use crate::model::error_code::ErrorCode;

/// Something that goes wrong with one or more calls.
///
/// Over HTTP it is an object such as `{"effect": {"answer": 60007}, "calls": 3, "api": "openim/sendmsg"}` or
/// `{"before_answer": "50ms..200ms", "calls": null}`; everything may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// The only API that is meant; `None`: any call.
    #[serde(deserialize_with = "optional_text")]
    pub api: Option<ApiName>,
    /// How many calls it meets; `None`: every one until the faults are cleared.
    pub calls: Option<u32>,
    /// It meets one in so many of the calls that it is meant for, by chance; 0 and 1: each of them.
    pub one_in: u32,
    /// A slow network: waited before the call counts as arrived.
    #[serde(deserialize_with = "text")]
    pub transit: Delay,
    /// Waited after the head arrived and before the body is read.
    #[serde(deserialize_with = "text")]
    pub before_body: Delay,
    /// Waited after the call was carried out and before it is answered.
    #[serde(deserialize_with = "text")]
    pub before_answer: Delay,
    /// What happens.
    pub effect: Effect,
}

/// What happens to a call that meets a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Effect {
    /// Nothing but the delays.
    #[default]
    Serve,
    /// This ErrorCode instead of carrying the call out.
    #[serde(deserialize_with = "code")]
    Answer(ErrorCode),
    /// The connection is reset once the head is read; the call is not carried out.
    ResetBeforeReading,
    /// The call is carried out, then the connection is reset.
    ResetAfterReading,
    /// The call is carried out and never answered: the connection hangs until the sandbox stops.
    Stall,
    /// The call is carried out; half of the answer is sent under the whole answer's length, then the connection ends.
    Truncate,
    /// The call is carried out; the answer is a text that is no JSON.
    NotJson,
    /// The call is carried out; the answer is empty.
    Empty,
    /// The call is carried out; the answer is a web server's page with status 502.
    BadGateway,
    /// The call is carried out; `ErrorInfo` repeats the whole URL of the request, UserSig and all.
    EchoUrl,
    /// The call is carried out; the answer is an HTML page with status 404 that repeats the whole URL.
    EchoUrlInHtml,
    /// The call is carried out; the answer is compressed with gzip, whether the caller takes that or not.
    Gzip,
    /// The call is carried out; the answer is so many bytes long (up to 64 MiB) and compressed with gzip, to a
    /// thousandth of that.
    GzipBomb(usize),
    /// The call is carried out; the answer comes a byte at a time, this long after the one before.
    #[serde(deserialize_with = "time")]
    Drip(Duration),
    /// The call is carried out; the answer is so many bytes long (up to 64 MiB), its code at the very end.
    Large(usize),
    /// The call is carried out and answered; then the connection is closed without a warning.
    CloseSilently,
    /// The call is carried out and answered with `connection: close`.
    CloseAnnounced,
}

impl Fault {
    /// A fault that meets one call, of any API, without a delay.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self { effect, ..Self::default() }
    }

    /// Meets so many calls.
    #[must_use]
    pub fn times(self, calls: u32) -> Self {
        Self { calls: Some(calls), ..self }
    }

    /// Meets every call until the faults are cleared.
    #[must_use]
    pub fn for_ever(self) -> Self {
        Self { calls: None, ..self }
    }

    /// Meets one call in so many, by chance.
    #[must_use]
    pub fn one_in(self, calls: u32) -> Self {
        Self { one_in: calls, ..self }
    }

    /// Meets only calls of this API.
    #[must_use]
    pub fn on(self, api: ApiName) -> Self {
        Self { api: Some(api), ..self }
    }

    fn meets(&self, api: Option<&ApiName>) -> bool {
        self.api.is_none() || self.api.as_ref() == api
    }
}

impl Default for Fault {
    fn default() -> Self {
        let none = Delay::NONE;
        Self {
            api: None,
            calls: Some(1),
            one_in: 1,
            transit: none,
            before_body: none,
            before_answer: none,
            effect: Effect::Serve,
        }
    }
}

/// How long to wait: anything from the shorter to the longer time, each with the same chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delay {
    shortest: Duration,
    longest: Duration,
}

impl Delay {
    /// No wait.
    pub const NONE: Self = Self::fixed(Duration::ZERO);

    /// Always the same time.
    #[must_use]
    pub const fn fixed(time: Duration) -> Self {
        Self { shortest: time, longest: time }
    }

    /// Anything from `shortest` to `longest`; the same as `fixed(shortest)` where `longest` is no longer.
    #[must_use]
    pub fn between(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest: longest.max(shortest) }
    }

    /// One time out of the range.
    pub(super) fn draw(self, random: &mut fastrand::Rng) -> Duration {
        self.shortest + (self.longest - self.shortest).mul_f64(random.f64())
    }
}

/// Why a text is no [`Delay`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a delay is one time such as \"250ms\", or two with the longer last, such as \"50ms..200ms\"")]
pub struct BadDelay;

/// Reads `250ms` or `50ms..200ms`.
impl FromStr for Delay {
    type Err = BadDelay;

    fn from_str(text: &str) -> Result<Self, BadDelay> {
        let time = |text: &str| duration::parse(text).map_err(|_| BadDelay);
        let (shortest, longest) = match text.split_once("..") {
            Some((shortest, longest)) => (time(shortest)?, time(longest)?),
            None => (time(text)?, time(text)?),
        };
        if shortest > longest { Err(BadDelay) } else { Ok(Self { shortest, longest }) }
    }
}

/// The queue is full: it takes 1,000 faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST_FAULTS} faults are waiting: clear them first")]
pub struct TooManyFaults;

/// The faults that wait for a call.
pub(super) struct Queue(Mutex<Waiting>);

struct Waiting {
    faults: VecDeque<Fault>,
    /// Decides which calls a fault meets by chance; seeded, so that a run can be repeated.
    random: fastrand::Rng,
}

impl Queue {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Waiting { faults: VecDeque::new(), random: fastrand::Rng::with_seed(seed) }))
    }

    /// Adds all of them, or none where they do not all find room.
    pub(super) fn push_all(&self, faults: Vec<Fault>) -> Result<(), TooManyFaults> {
        let waiting = &mut self.lock().faults;
        if waiting.len() + faults.len() > MOST_FAULTS {
            return Err(TooManyFaults);
        }
        waiting.extend(faults.into_iter().filter(|fault| fault.calls != Some(0)));
        Ok(())
    }

    /// The fault that this call meets; one that does nothing when there is none.
    pub(super) fn take(&self, api: Option<&ApiName>) -> Fault {
        let Waiting { faults: waiting, random } = &mut *self.lock();
        let mut hits = |fault: &Fault| fault.one_in <= 1 || random.u32(0..fault.one_in) == 0;
        let Some(place) = waiting.iter().position(|fault| fault.meets(api) && hits(fault)) else {
            return Fault::default();
        };
        let fault = waiting[place].clone();
        match &mut waiting[place].calls {
            Some(left) if *left > 1 => *left -= 1,
            Some(_) => drop(waiting.remove(place)),
            None => {}
        }
        fault
    }

    pub(super) fn clear(&self) {
        self.lock().faults.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn optional_text<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    duration::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn code<'de, D: Deserializer<'de>>(from: D) -> Result<ErrorCode, D::Error> {
    i64::deserialize(from).map(ErrorCode)
}

const MOST_FAULTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn api(name: &str) -> ApiName {
        name.parse().unwrap()
    }

    fn answer(code: i64) -> Fault {
        Fault::new(Effect::Answer(ErrorCode(code)))
    }

    #[test]
    fn a_call_takes_the_first_fault_meant_for_it_as_often_as_it_says() {
        let queue = Queue::new(0);
        let (send, check) = (api("openim/sendmsg"), api("im_open_login_svc/account_check"));
        let faults =
            vec![answer(1).times(2).on(send.clone()), answer(2), answer(3).on(check.clone()).for_ever()];
        queue.push_all(faults).unwrap();
        let take = |api: &ApiName| queue.take(Some(api)).effect;
        assert_eq!(take(&check), Effect::Answer(ErrorCode(2)));
        assert_eq!(take(&send), Effect::Answer(ErrorCode(1)));
        assert_eq!(take(&send), Effect::Answer(ErrorCode(1)));
        assert_eq!(take(&send), Effect::Serve);
        for _ in 0..5 {
            assert_eq!(take(&check), Effect::Answer(ErrorCode(3)));
        }
        queue.clear();
        assert_eq!(queue.take(Some(&check)), Fault::default());
    }

    #[test]
    fn a_fault_that_leaves_it_to_chance_meets_its_share_of_calls() {
        let queue = Queue::new(7);
        queue.push_all(vec![answer(1).one_in(100).for_ever(), answer(2).one_in(50).times(3)]).unwrap();
        let met = (0..10_000).map(|_| queue.take(None).effect);
        let (mut first, mut second) = (0, 0);
        for effect in met {
            first += i32::from(effect == Effect::Answer(ErrorCode(1)));
            second += i32::from(effect == Effect::Answer(ErrorCode(2)));
        }
        assert!((70..130).contains(&first), "{first} of 10,000");
        assert_eq!(second, 3, "as often as it says, and no oftener");
    }

    #[test]
    fn the_queue_is_bounded_and_takes_all_or_nothing() {
        let queue = Queue::new(0);
        queue.push_all(vec![answer(1); 999]).unwrap();
        assert_eq!(queue.push_all(vec![answer(1); 2]), Err(TooManyFaults));
        assert_eq!(queue.push_all(vec![answer(1)]), Ok(()));
        assert_eq!(queue.push_all(vec![answer(1)]), Err(TooManyFaults));
    }

    #[test]
    fn faults_are_read_from_json() {
        let read = |text: &str| serde_json::from_str::<Fault>(text);
        assert_eq!(read("{}").unwrap(), Fault::default());
        let fault = r#"{"api":"openim/sendmsg","calls":3,"effect":{"answer":60007},"transit":"5ms"}"#;
        let expected = Fault {
            transit: Delay::fixed(Duration::from_millis(5)),
            ..answer(60007).times(3).on(api("openim/sendmsg"))
        };
        assert_eq!(read(fault).unwrap(), expected);
        assert_eq!(read(r#"{"effect":"not-json","calls":null}"#).unwrap().calls, None);
        assert_eq!(read(r#"{"effect":{"large":9}}"#).unwrap().effect, Effect::Large(9));
        let drip = read(r#"{"effect":{"drip":"5ms"},"one_in":9}"#).unwrap();
        assert_eq!(drip, Fault::new(Effect::Drip(Duration::from_millis(5))).one_in(9));
        for (bad, said) in [
            (r#"{"efect":"stall"}"#, "efect"),
            (r#"{"effect":"explode"}"#, "explode"),
            (r#"{"api":"nothing"}"#, "service/command"),
            (r#"{"transit":"soon"}"#, "250ms"),
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_delay_stays_in_its_range() {
        let mut random = fastrand::Rng::with_seed(1);
        let delay: Delay = "10ms..20ms".parse().unwrap();
        let drawn: Vec<Duration> = (0..100).map(|_| delay.draw(&mut random)).collect();
        assert!(drawn.iter().all(|d| (10..=20).contains(&d.as_millis())));
        assert!(drawn.iter().any(|d| d != &drawn[0]), "it varies");
        assert_eq!("7ms".parse::<Delay>().unwrap().draw(&mut random), Duration::from_millis(7));
        for bad in ["", "7", "20ms..10ms", "..", "1ms..", "1ms..2ms..3ms"] {
            assert_eq!(bad.parse::<Delay>(), Err(BadDelay), "{bad}");
        }
    }
}
