//! What the sandbox's APIs do: a call that passed every check comes in, an answer goes out.
//!
//! Live's webhooks and rooms and Chat's accounts keep state for each app; every other API succeeds plainly. All
//! state has a bound.

mod accounts;
mod rooms;
mod webhooks;

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::auth::Caller;
use super::shape::{Answer, Refusal};
use crate::model::api::ApiName;
use crate::model::app::SdkAppId;

/// The state of every app.
#[derive(Default)]
pub(super) struct World(HashMap<SdkAppId, AppState>);

#[derive(Default)]
struct AppState {
    webhook: webhooks::Webhook,
    token: webhooks::Token,
    rooms: rooms::Rooms,
    accounts: accounts::Accounts,
}

impl World {
    /// Carries out one call.
    pub(super) fn execute(&mut self, caller: &Caller, api: &ApiName, body: &Map<String, Value>) -> Answer {
        let app = self.0.entry(caller.sdkappid).or_default();
        let done = match api.as_str() {
            "live_config/set_callback" => app.webhook.set(body),
            "live_config/update_callback" => app.webhook.update(body),
            "live_config/get_callback" => Ok(app.webhook.answer()),
            "live_config/delete_callback" => Ok(app.webhook.delete()),
            "live_config/set_callback_token" => app.token.set(body),
            "live_config/get_callback_token" => app.token.answer(),
            "live_config/delete_callback_token" => Ok(app.token.delete()),
            "live_engine_http_srv/create_room" => app.rooms.create(&caller.identifier, body),
            "live_engine_http_srv/get_room_info" => app.rooms.describe(body),
            "live_engine_http_srv/destroy_room" => app.rooms.destroy(body),
            "im_open_login_svc/account_import" => app.accounts.import(body),
            "im_open_login_svc/account_check" => app.accounts.check(body),
            "im_open_login_svc/account_delete" => app.accounts.delete(body),
            _ => Ok(Answer::ok()),
        };
        done.unwrap_or_else(|refusal: Refusal| refusal.into())
    }
}

#[cfg(test)]
mod tests;
