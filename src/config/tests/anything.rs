//! Whatever the file holds, it is taken or refused.

use proptest::prelude::*;

use super::*;

/// A file with every key.
const GOOD: &str = include_str!("../../../config/gateway.toml");

#[test]
fn depth_is_bounded() {
    let (table, list) = (format!("{}x = 1", "a.".repeat(50_000)), format!("x = {}", "[".repeat(50_000)));
    for text in [table, list] {
        let error = parsed(&text, &[]).unwrap_err();
        assert!(error.contains("this is no TOML: "), "{error}");
    }
}

fn never_panics(text: &str) -> Result<(), TestCaseError> {
    let Err(problems) = parse(text, "gateway.toml".as_ref(), &Environment::default()) else { return Ok(()) };
    prop_assert!(problems.iter().len() > 0);
    for problem in &problems {
        if let Place::Line(line) = problem.place {
            prop_assert!((1..=text.split('\n').count()).contains(&line), "{problem}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        never_panics(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_change_of_a_good_file_is_taken_or_refused(
        start in 0..GOOD.len(),
        length in 0..40_usize,
        insert in r#"[\[\]{}"'=.,#\n0-9a-z_ -]{0,20}"#,
    ) {
        let (mut bytes, end) = (GOOD.as_bytes().to_vec(), (start + length).min(GOOD.len()));
        bytes.splice(start..end, insert.bytes());
        never_panics(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_value_at_a_known_key_is_taken_or_refused(
        key in prop::sample::select(GOOD.lines().filter(|line| line.contains(" = ")).collect::<Vec<_>>()),
        value in prop::sample::select(vec![
            "-1", "0", "9223372036854775807", "nan", "-inf", "1e308", "true", "''", "'\\u0000'", "\"\\u0000\"",
            "'🦀'", "[]", "[[]]", "{}", "{ a = 1 }", "1979-05-27", "'10y'", "'999999999999999999d'", "'17GiB'",
            "'https://['", "'unix:'", "'[::1]:65536'",
        ]),
    ) {
        let (name, _) = key.split_once(" = ").unwrap();
        let name = name.trim_start_matches("# ");
        never_panics(&GOOD.replace(key, &format!("{name} = {value}")))?;
    }
}
