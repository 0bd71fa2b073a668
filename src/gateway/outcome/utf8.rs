//! UTF-8, checked piece by piece.

use std::str::from_utf8;

/// Checks a text whose pieces may be cut in the middle of a character.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose rest has not come yet; the first `held` bytes.
    cut: [u8; 4],
    held: usize,
}

/// How many bytes of the piece at hand are sound before the one that is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsound {
    /// Sound bytes at the beginning of the piece.
    pub(super) after: usize,
    /// Bytes of the broken character that ended the piece before.
    pub(super) held: usize,
}

impl Utf8 {
    /// Checks the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Unsound> {
        let rest = &piece[self.complete(piece)?..];
        match from_utf8(rest) {
            Ok(_) => Ok(()),
            // No more than three bytes: the beginning of a character that may yet come out well.
            Err(error) if error.error_len().is_none() => {
                let beginning = &rest[error.valid_up_to()..];
                self.held = beginning.len();
                self.cut[..self.held].copy_from_slice(beginning);
                Ok(())
            }
            Err(error) => Err(Unsound { after: piece.len() - rest.len() + error.valid_up_to(), held: 0 }),
        }
    }

    /// Adds to a character that was cut until it is whole. How many bytes of `piece` that took.
    fn complete(&mut self, piece: &[u8]) -> Result<usize, Unsound> {
        let before = self.held;
        let mut taken = 0;
        while self.held > 0 && taken < piece.len() {
            self.cut[self.held] = piece[taken];
            self.held += 1;
            taken += 1;
            match from_utf8(&self.cut[..self.held]) {
                Ok(_) => self.held = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Unsound { after: 0, held: before }),
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_the_whole_however_it_is_cut(
            mut bytes in prop::collection::vec(prop::sample::select(vec!["a", "é", "€", "𐍈", "\u{ffff}"]), 0..8).prop_map(|parts| parts.concat().into_bytes()),
            changed in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(0_usize..32, 0..8),
        ) {
            if let (Some((place, byte)), false) = (changed, bytes.is_empty()) {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut utf8 = Utf8::default();
            let found = cuts.windows(2).find_map(|cut| {
                utf8.push(&bytes[cut[0]..cut[1]]).err().map(|unsound| cut[0] + unsound.after - unsound.held)
            });
            match from_utf8(&bytes) {
                Ok(_) => prop_assert_eq!((found, utf8.held), (None, 0)),
                Err(error) if error.error_len().is_none() => {
                    prop_assert_eq!((found, utf8.held), (None, bytes.len() - error.valid_up_to()));
                }
                Err(error) => prop_assert_eq!(found, Some(error.valid_up_to())),
            }
        }
    }
}
