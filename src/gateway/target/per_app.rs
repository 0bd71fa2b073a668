//! What is kept for each app, found on a call's way without hashing.

use std::sync::Arc;

use super::{App, Apps};
use crate::model::app::SdkAppId;

/// Something for each app of one configuration.
///
/// A call has its app in hand, and that knows its index: what is kept for it is one step away, in a slice of sixteen
/// bytes for each app. With many apps in use that is one cache line that is cold, where a hash map has two and a hash.
/// A call from before a reload may hold an app whose index is another app's by now: it finds its own by the SDKAppID.
#[derive(Debug)]
pub(crate) struct PerApp<T> {
    /// By [`App::index`].
    rows: Box<[Row<T>]>,
    /// The indices, by SDKAppID.
    by_sdkappid: Box<[usize]>,
}

#[derive(Debug)]
struct Row<T> {
    app: Arc<App>,
    kept: T,
}

impl<T> Default for PerApp<T> {
    fn default() -> Self {
        Self { rows: Box::default(), by_sdkappid: Box::default() }
    }
}

impl<T> PerApp<T> {
    /// Keeps for each of `apps` what `keep` gives.
    pub(crate) fn of(apps: &Apps, mut keep: impl FnMut(&Arc<App>) -> T) -> Self {
        let row = |app| Row { app: Arc::clone(app), kept: keep(app) };
        let rows: Box<[_]> = apps.each().map(row).collect();
        let mut by_sdkappid: Box<[_]> = (0..rows.len()).collect();
        by_sdkappid.sort_unstable_by_key(|&index| rows[index].app.sdkappid);
        Self { rows, by_sdkappid }
    }

    /// What is kept for this app: for itself, or for the one that has its SDKAppID by now, if they are `alike`.
    pub(crate) fn find(&self, app: &App, alike: impl FnOnce(&App, &App) -> bool) -> Option<&T> {
        match self.rows.get(app.index.get()) {
            Some(row) if std::ptr::eq(&*row.app, app) => Some(&row.kept),
            _ => self.row(app.sdkappid).filter(|row| alike(&row.app, app)).map(|row| &row.kept),
        }
    }

    /// What is kept for the app of this SDKAppID.
    pub(crate) fn get(&self, sdkappid: SdkAppId) -> Option<&T> {
        self.row(sdkappid).map(|row| &row.kept)
    }

    /// Everything, with the app for which it is kept.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&App, &T)> {
        self.rows.iter().map(|row| (&*row.app, &row.kept))
    }

    /// For how many apps something is kept.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, sdkappid: SdkAppId) -> Option<&Row<T>> {
        let sdkappid_of = |&index: &usize| self.rows[index].app.sdkappid;
        let found = self.by_sdkappid.binary_search_by_key(&sdkappid, sdkappid_of).ok()?;
        Some(&self.rows[self.by_sdkappid[found]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::target::tests::{app, with_apps};

    fn always(_: &App, _: &App) -> bool {
        true
    }

    fn never_asked(_: &App, _: &App) -> bool {
        panic!("it is the same app")
    }

    fn names(apps: &Apps) -> PerApp<String> {
        PerApp::of(apps, |app| app.name.to_string())
    }

    #[test]
    fn every_app_finds_its_own_and_others_find_it_by_their_number() {
        let before = with_apps(&[("c", 3), ("a", 1), ("b", 2)], None);
        let names = names(&before);
        assert_eq!(names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
        for app in before.each() {
            let name = &app.name.to_string();
            assert_eq!(names.find(app, never_asked), Some(name));
            assert_eq!(names.get(app.sdkappid), Some(name));
            // Alike, and yet another: as after a reload.
            let again = App::clone(app);
            assert_eq!(names.find(&again, always), Some(name));
            assert_eq!(names.find(&again, |_, _| false), None);
        }
        assert_eq!(names.find(&app("d", 4), always), None, "though its index is that of another");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn an_app_whose_index_is_taken_finds_its_own() {
        let before = with_apps(&[("a", 1), ("b", 2), ("c", 3)], None);
        let names = names(&with_apps(&[("new-b", 2), ("new-a", 1)], None));
        let found = |name| names.find(before.named(name).unwrap(), always).map(String::as_str);
        assert_eq!(["a", "b", "c"].map(found), [Some("new-a"), Some("new-b"), None]);
    }

    #[test]
    fn an_app_that_is_added_elsewhere_gets_another_index() {
        let before = with_apps(&[("a", 1), ("b", 2)], None);
        let mut after = with_apps(&[("c", 3), ("d", 4)], None);
        after.add(App::clone(before.named("b").unwrap()), false).unwrap();
        assert_eq!(names(&after).find(after.named("b").unwrap(), never_asked).map(String::as_str), Some("b"));
    }
}
