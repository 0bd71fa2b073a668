//! Chat's accounts: imported, looked for, deleted.
//!
//! Sources: the pages of `im_open_login_svc`, <https://www.tencentcloud.com/document/product/1047/34953> to 34956.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::sandbox::codes;
use crate::sandbox::shape::{Answer, Refusal};

/// The accounts of one app.
#[derive(Default)]
pub(super) struct Accounts(HashSet<String>);

impl Accounts {
    /// Imports one account; importing it again succeeds.
    pub(super) fn import(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let user = user_id(body)?;
        if self.0.len() == MOST_ACCOUNTS && !self.0.contains(user) {
            return Err(Refusal::new(codes::TOO_MANY_ACCOUNTS, "the app holds 100000 accounts"));
        }
        self.0.insert(user.to_owned());
        Ok(Answer::ok())
    }

    /// Tells for each account in `CheckItem` whether it was imported.
    pub(super) fn check(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let status = |known: bool| if known { "Imported" } else { "NotImported" };
        let result = |user: &str| {
            json!({
                "UserID": user,
                "ResultCode": 0,
                "ResultInfo": "",
                "AccountStatus": status(self.0.contains(user)),
            })
        };
        let results: Vec<Value> = items(body, "CheckItem")?.into_iter().map(result).collect();
        Ok(Answer::with(json!({ "ResultItem": results })))
    }

    /// Deletes each account in `DeleteItem`; 70107 in the result of one that was never imported.
    pub(super) fn delete(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let mut results = Vec::new();
        for user in items(body, "DeleteItem")? {
            let (code, info) = if self.0.remove(user) { (0, "") } else { (70107, "not imported") };
            results.push(json!({ "UserID": user, "ResultCode": code, "ResultInfo": info }));
        }
        Ok(Answer::with(json!({ "ResultItem": results })))
    }
}

/// The accounts in a list of 1 to 100 objects.
fn items<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>, Refusal> {
    let list = body.get(name).and_then(Value::as_array).filter(|list| (1..=MOST_ITEMS).contains(&list.len()));
    let list = list.ok_or_else(|| bad(format!("{name} is no list of 1 to {MOST_ITEMS} accounts")))?;
    list.iter().map(|item| user_id(item.as_object().ok_or_else(|| bad("an item is no object"))?)).collect()
}

fn user_id(item: &Map<String, Value>) -> Result<&str, Refusal> {
    match item.get("UserID") {
        Some(Value::String(user)) if (1..=32).contains(&user.len()) => Ok(user),
        Some(Value::String(_)) => Err(bad("UserID is not 1 to 32 bytes long")),
        Some(_) => Err(Refusal::new(codes::ACCOUNT_NO_STRING, "UserID is not a string")),
        None => Err(bad("UserID is missing")),
    }
}

fn bad(info: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(codes::BAD_ACCOUNT_PARAMETER, info)
}

/// The batch limit of account_check and account_delete.
const MOST_ITEMS: usize = 100;
/// Our own bound, for each app.
pub(super) const MOST_ACCOUNTS: usize = 100_000;
