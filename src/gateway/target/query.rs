//! A caller's query, parameter by parameter, and the five in it that are the gateway's to give.
//!
//! A parameter is recognised by what its name says once it is percent-decoded, in whatever ASCII case: a server that
//! decodes names before it compares them must not find a second `usersig` that this gateway did not. A `+` is not
//! taken for a space, since none of the five names holds one either way.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// One of the five parameters that authorise a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthParameter {
    SdkAppId,
    Identifier,
    UserSig,
    Random,
    ContentType,
}

impl AuthParameter {
    const ALL: [(&'static str, Self); 5] = [
        ("sdkappid", Self::SdkAppId),
        ("identifier", Self::Identifier),
        ("usersig", Self::UserSig),
        ("random", Self::Random),
        ("contenttype", Self::ContentType),
    ];

    /// Which of the five `parameter` (`name=value`, or a name alone) is, if any.
    pub(crate) fn of(parameter: &str) -> Option<Self> {
        let (name, _) = split(parameter);
        Self::ALL.into_iter().find(|(word, _)| spells(name, word)).map(|(_, auth)| auth)
    }
}

/// The parameters of `query` in order, byte for byte. A query that is there but empty has none.
pub(crate) fn parameters(query: Option<&str>) -> impl Iterator<Item = &str> {
    query.filter(|query| !query.is_empty()).into_iter().flat_map(|query| query.split('&'))
}

/// The value of `parameter`, percent-decoded; what is no UTF-8 then becomes U+FFFD.
pub(crate) fn value(parameter: &str) -> Cow<'_, str> {
    percent_decode_str(split(parameter).1).decode_utf8_lossy()
}

fn split(parameter: &str) -> (&str, &str) {
    parameter.split_once('=').unwrap_or((parameter, ""))
}

/// Whether `name`, percent-decoded, is `word` but for ASCII case.
fn spells(name: &str, word: &str) -> bool {
    if name.len() == word.len() {
        // Decoding makes a text shorter, so this one would have to be plain.
        return name.eq_ignore_ascii_case(word);
    }
    // Each character takes one byte, or three when encoded.
    (word.len()..=3 * word.len()).contains(&name.len())
        && percent_decode_str(name).map(|b| b.to_ascii_lowercase()).eq(word.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case_and_encoding() {
        for parameter in [
            "usersig=x",
            "usersig",
            "usersig=",
            "UserSig=1",
            "%75serSIG=",
            "%75%73%65%72%73%69%67",
            "%55sersig=a=b",
        ] {
            assert_eq!(AuthParameter::of(parameter), Some(AuthParameter::UserSig), "{parameter}");
        }
        for (word, auth) in AuthParameter::ALL {
            assert_eq!(AuthParameter::of(word), Some(auth));
        }
    }

    #[test]
    fn only_the_name_counts_and_it_is_decoded_once() {
        for parameter in [
            "",
            "=",
            "=usersig",
            "x=usersig",
            "usersig2",
            "user+sig",
            "usersi",
            "%2575sersig",
            "usersig%00",
            "usersi%6",
            "usersi%zz",
            "usersig%3D1",
            "%20usersig",
        ] {
            assert_eq!(AuthParameter::of(parameter), None, "{parameter}");
        }
    }

    #[test]
    fn parameters_stay_as_they_are_written() {
        let all = |query| parameters(query).collect::<Vec<_>>();
        assert_eq!(all(Some("a=1&&b&a=%31&")), ["a=1", "", "b", "a=%31", ""]);
        assert!(all(None).is_empty() && all(Some("")).is_empty());
        assert_eq!((value("a=%31=2"), value("a")), ("1=2".into(), "".into()));
    }
}
