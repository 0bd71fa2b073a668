//! The path and query with which a call leaves: the API's own path, the caller's query without what it may not give,
//! and the five parameters that authorise the call.
//!
//! The caller's other parameters stay as they were written, byte for byte and in order, since a gateway that decodes
//! and encodes them again changes what some server reads. Our five stand first, so that nothing a caller writes can
//! come between them and the server.

use std::fmt;

use http::uri::PathAndQuery;

use crate::gateway::target::query::{AuthParameter, parameters};
use crate::model::app::{Identifier, SdkAppId};

/// What authorises one try of a call.
#[derive(Clone, Copy)]
pub struct Auth<'a> {
    /// The app.
    pub sdkappid: SdkAppId,
    /// Its administrator, for whom the UserSig was made.
    pub identifier: &'a Identifier,
    /// The UserSig, of `A-Z a-z 0-9 * - _`. It goes in as it is: whether Tencent takes `%2A` for `*` is not documented.
    pub usersig: &'a str,
    /// A number that no other try has.
    pub random: u32,
}

/// Where a signed call goes. It holds a UserSig, so it shows its path only.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedTarget(String);

/// Why a call has no URL. It quotes nothing, since a UserSig may be near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// HTTP libraries carry at most 65534 bytes.
    #[error("path and query would have {0} bytes with the UserSig, and at most 65534 can be sent")]
    TooLong(usize),
    /// The query holds a byte that no URL may hold, such as a blank, or a `#`, behind which a URL has ended.
    #[error("the query holds a character that must be percent-encoded")]
    Character,
}

/// Puts together what follows the host: `url_path`, the five parameters of `auth`, and `caller_query` less whatever in
/// it goes by one of their names.
///
/// # Errors
/// When the query holds what no URL may hold, or the whole is too long to send.
pub fn path_and_query(
    url_path: &str,
    caller_query: Option<&str>,
    auth: &Auth<'_>,
) -> Result<SignedTarget, BadUrl> {
    let longest = url_path.len() + auth.longest() + caller_query.map_or(0, |query| 1 + query.len());
    let mut url = String::with_capacity(longest);
    url.push_str(url_path);
    url.push('?');
    auth.push_to(&mut url);
    for parameter in parameters(caller_query).filter(|parameter| AuthParameter::of(parameter).is_none()) {
        url.push('&');
        url.push_str(parameter);
    }
    debug_assert!(url.len() <= longest, "the buffer is sized once");

    if url.len() > LONGEST_URL {
        return Err(BadUrl::TooLong(url.len()));
    }
    // All the rest is made of checked names; reading it again takes 3,150 instructions.
    if caller_query.is_some_and(|query| !can_stand_in_a_url(query)) {
        return Err(BadUrl::Character);
    }
    Ok(SignedTarget(url))
}

fn can_stand_in_a_url(query: &str) -> bool {
    // `PathAndQuery` would take a `#` for the end and drop the rest.
    !query.contains('#') && PathAndQuery::try_from(format!("/?{query}")).is_ok()
}

impl SignedTarget {
    /// The path and query, for the request that is sent. Never log them.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.split('?').next().unwrap_or_default();
        write!(f, "SignedTarget({path}?redacted)")
    }
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({} for {}, redacted)", self.identifier, self.sdkappid)
    }
}

impl Auth<'_> {
    /// The five parameters, as they stand in a URL.
    fn push_to(&self, url: &mut String) {
        let mut number = itoa::Buffer::new();
        url.push_str("sdkappid=");
        url.push_str(number.format(self.sdkappid.number()));
        url.push_str("&identifier=");
        url.push_str(self.identifier.in_url());
        url.push_str("&usersig=");
        url.push_str(self.usersig);
        url.push_str("&random=");
        url.push_str(number.format(self.random));
        url.push_str("&contenttype=json");
    }

    /// No fewer bytes than the five parameters take.
    fn longest(&self) -> usize {
        const NAMES: usize = "?sdkappid=&identifier=&usersig=&random=&contenttype=json".len();
        const NUMBERS: usize = 2 * "4294967295".len();
        NAMES + NUMBERS + self.usersig.len() + self.identifier.in_url().len()
    }
}

/// What `PathAndQuery` takes.
const LONGEST_URL: usize = 65_534;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USERSIG: &str = "eJwtzM0KgkAAxPF32XPY*rfTn-_C-";

    fn rewritten(query: Option<&str>) -> Result<String, BadUrl> {
        rewritten_for("administrator", query)
    }

    fn rewritten_for(identifier: &str, query: Option<&str>) -> Result<String, BadUrl> {
        let identifier = identifier.parse().unwrap();
        let sdkappid = "1400000001".parse().unwrap();
        let auth = Auth { sdkappid, identifier: &identifier, usersig: USERSIG, random: u32::MAX };
        path_and_query("/v4/a/b", query, &auth).map(|target| target.expose().to_owned())
    }

    fn ours(identifier: &str) -> String {
        format!(
            "/v4/a/b?sdkappid=1400000001&identifier={identifier}&usersig={USERSIG}&random=4294967295&contenttype=json"
        )
    }

    #[test]
    fn the_five_are_put_in_and_the_rest_stays() {
        let ours = ours("administrator");
        for (query, rest) in [
            (None, ""),
            (Some(""), ""),
            (Some("nettype=5"), "&nettype=5"),
            (Some("sdkappid=1&identifier=x&usersig=y&random=2&contenttype=xml"), ""),
            (Some("b=2&usersig=y&a=1"), "&b=2&a=1"),
            (Some("USERSIG=y&%75sersig=z&usersig&UserSig="), ""),
            (Some("a=%31&a=1&a&=&=x&&+=+"), "&a=%31&a=1&a&=&=x&&+=+"),
            (Some("&"), "&&"),
            (Some("usersig=y&"), "&"),
            (Some("x=usersig=y&usersig2=z&user+sig=w"), "&x=usersig=y&usersig2=z&user+sig=w"),
            (Some("?usersig=é"), "&?usersig=é"),
        ] {
            assert_eq!(rewritten(query), Ok(format!("{ours}{rest}")), "{query:?}");
        }
    }

    #[test]
    fn an_identifier_is_encoded_where_it_must_be() {
        assert_eq!(rewritten_for("a&usersig=x", None), Ok(ours("a%26usersig%3Dx")));
        assert_eq!(rewritten_for("A_z-9.~ é", None), Ok(ours("A_z-9%2E%7E%20%C3%A9")));
        let longest = "é".repeat(16);
        assert_eq!(rewritten_for(&longest, None), Ok(ours(&"%C3%A9".repeat(16))));
    }

    #[test]
    fn what_no_url_may_hold_is_an_error() {
        for query in ["a=b c", "a#b", "a=\0", "a=\n", "a=\u{7f}"] {
            assert_eq!(rewritten(Some(query)), Err(BadUrl::Character), "{query:?}");
        }
        let room = LONGEST_URL - ours("administrator").len() - "&".len();
        assert!(rewritten(Some(&"x".repeat(room))).is_ok());
        assert_eq!(rewritten(Some(&"x".repeat(room + 1))), Err(BadUrl::TooLong(LONGEST_URL + 1)));
    }

    #[test]
    fn debug_shows_no_usersig() {
        let identifier = "administrator".parse().unwrap();
        let auth =
            Auth { sdkappid: "1".parse().unwrap(), identifier: &identifier, usersig: USERSIG, random: 7 };
        let target = path_and_query("/v4/a/b", Some("x=secret"), &auth).unwrap();
        assert_eq!(format!("{target:?}"), "SignedTarget(/v4/a/b?redacted)");
        assert_eq!(format!("{auth:?}"), "Auth(administrator for 1, redacted)");
    }

    /// Parameters among which our five stand in many disguises.
    fn any_parameter() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            "[a-z%=+.0-9]{0,12}",
            prop::sample::select(vec!["sdkappid", "identifier", "usersig", "random", "contenttype"])
                .prop_flat_map(|word| (Just(word), prop::collection::vec(0..3_u8, word.len())))
                .prop_map(|(word, ways)| word.chars().zip(ways).map(disguise).collect()),
        ];
        (name, "(=[!$%'-;=?-~é]{0,8})?").prop_map(|(name, value)| name + &value)
    }

    fn disguise((letter, way): (char, u8)) -> String {
        match way {
            0 => letter.to_string(),
            1 => letter.to_ascii_uppercase().to_string(),
            _ => format!("%{:02x}", u32::from(letter)),
        }
    }

    /// The same decision by other means: decode all of the name first.
    fn is_ours(parameter: &str) -> bool {
        let name = parameter.split('=').next().unwrap();
        let name = percent_encoding::percent_decode_str(name).collect::<Vec<u8>>().to_ascii_lowercase();
        ["sdkappid", "identifier", "usersig", "random", "contenttype"]
            .iter()
            .any(|word| word.as_bytes() == name)
    }

    proptest! {
        #[test]
        fn each_of_the_five_stands_there_once_and_the_others_survive_in_order(
            sent in prop::collection::vec(any_parameter(), 0..12),
        ) {
            let query = sent.join("&");
            let url = rewritten(Some(&query)).unwrap();
            let (_, got) = url.split_once('?').unwrap();
            let (ours, others): (Vec<&str>, Vec<&str>) = got.split('&').partition(|p| is_ours(p));
            let usersig = format!("usersig={USERSIG}");
            prop_assert_eq!(
                ours,
                ["sdkappid=1400000001", "identifier=administrator", &usersig, "random=4294967295", "contenttype=json"]
            );
            let kept: Vec<&str> = query.split('&').filter(|p| !query.is_empty() && !is_ours(p)).collect();
            prop_assert_eq!(others, kept);
        }

        #[test]
        fn no_query_makes_it_panic(query in any::<String>()) {
            if let Ok(url) = rewritten(Some(&query)) {
                prop_assert!(url.starts_with(&ours("administrator")));
            }
        }
    }
}
