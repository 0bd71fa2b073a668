//! Live's webhook and its token: one of each for an app.
//!
//! Source: <https://trtc.io/document/64412> and the pages of `live_config`.

use serde_json::{Map, Value, json};

use crate::sandbox::codes;
use crate::sandbox::shape::{Answer, Refusal};

/// Where Tencent would post, and which commands.
#[derive(Default)]
pub(super) struct Webhook(Option<(String, Vec<String>)>);

impl Webhook {
    /// Configures it; 100300 when it is configured already.
    pub(super) fn set(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        if self.0.is_some() {
            return Err(Refusal::new(codes::WEBHOOK_EXISTS, "a webhook is configured already: update it"));
        }
        self.update(body)
    }

    /// Replaces it. No page says what an update of nothing gives; here it configures.
    pub(super) fn update(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let url = body
            .get("Url")
            .and_then(Value::as_str)
            .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
            .filter(|url| url.len() <= LONGEST_TEXT)
            .ok_or_else(|| bad("Url is no text that starts with http:// or https://"))?;
        let commands: Option<Vec<String>> = body
            .get("CallbackCommandList")
            .and_then(Value::as_array)
            .and_then(|list| list.iter().map(|command| command.as_str().map(str::to_owned)).collect());
        let commands = commands
            .filter(|list| list.len() <= MOST_COMMANDS && list.iter().all(|c| c.len() <= LONGEST_TEXT))
            .ok_or_else(|| bad("CallbackCommandList is no list of commands"))?;
        self.0 = Some((url.to_owned(), commands));
        Ok(Answer::ok())
    }

    /// What is configured. No page says how nothing looks; here both members are empty.
    pub(super) fn answer(&self) -> Answer {
        let (url, commands) = self.0.clone().unwrap_or_default();
        Answer::with(json!({ "Url": url, "CallbackCommandList": commands }))
    }

    pub(super) fn delete(&mut self) -> Answer {
        self.0 = None;
        Answer::ok()
    }
}

/// The token that signs webhooks.
#[derive(Default)]
pub(super) struct Token(Option<(String, bool)>);

impl Token {
    /// Sets what the body holds; the first time it must hold both members.
    pub(super) fn set(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let token = match body.get("Token") {
            None => None,
            Some(Value::String(token)) if (1..=128).contains(&token.chars().count()) => Some(token.clone()),
            Some(_) => return Err(bad("Token is no text of 1 to 128 characters")),
        };
        let enabled = match body.get("IsTokenEnable") {
            None => None,
            Some(Value::Bool(enabled)) => Some(*enabled),
            Some(_) => return Err(bad("IsTokenEnable is neither true nor false")),
        };
        let known = self.0.clone();
        self.0 = match (token, enabled, known) {
            (Some(token), Some(enabled), _) | (Some(token), None, Some((_, enabled))) => {
                Some((token, enabled))
            }
            (None, Some(enabled), Some((token, _))) => Some((token, enabled)),
            (None, None, Some(known)) => Some(known),
            (_, _, None) => return Err(bad("Token and IsTokenEnable are both needed the first time")),
        };
        Ok(Answer::ok())
    }

    /// The token in clear, as Tencent answers it; 100302 when there is none.
    pub(super) fn answer(&self) -> Result<Answer, Refusal> {
        match &self.0 {
            Some((token, enabled)) => Ok(Answer::with(json!({ "Token": token, "IsTokenEnable": enabled }))),
            None => Err(Refusal::new(codes::NO_WEBHOOK_TOKEN, "no webhook token is configured")),
        }
    }

    /// Deletes it; deleting nothing succeeds, since the page lists no code for it.
    pub(super) fn delete(&mut self) -> Answer {
        self.0 = None;
        Answer::ok()
    }
}

fn bad(info: &'static str) -> Refusal {
    Refusal::new(codes::BAD_PARAMETER, info)
}

/// Our own bounds: no page states them.
const LONGEST_TEXT: usize = 1024;
const MOST_COMMANDS: usize = 100;
