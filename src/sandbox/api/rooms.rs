//! Live's rooms: created, read, dissolved.
//!
//! Source: Create a Room, <https://trtc.io/document/63401>. That the same RoomId may be created only once a second
//! (100012) is left out: it would hide 100003 and 100010 from a test that repeats a call at once.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::sandbox::codes;
use crate::sandbox::shape::{Answer, Refusal};

/// The rooms of one app.
#[derive(Default)]
pub(super) struct Rooms {
    by_id: HashMap<String, Room>,
    /// The number in the last room id that was made here.
    made: u64,
}

struct Room {
    owner: String,
    info: Map<String, Value>,
}

impl Rooms {
    /// Creates a room; the owner is the caller unless the body names one, and so is the id made unless it is named.
    pub(super) fn create(&mut self, caller: &str, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let wanted = body.get("RoomInfo").and_then(Value::as_object).unwrap_or(body);
        let owner = text(wanted, "Owner_Account", 32)?.unwrap_or_else(|| caller.to_owned());
        let id = match text(wanted, "RoomId", 48)? {
            Some(id) => id,
            None => self.unused_id(),
        };
        let name = text(wanted, "RoomName", 100)?.unwrap_or_else(|| id.clone());
        match self.by_id.get(&id) {
            Some(room) if room.owner == owner => {
                return Err(Refusal::new(codes::ROOM_YOURS, "you have a room of this id"));
            }
            Some(_) => return Err(Refusal::new(codes::ROOM_TAKEN, "the room id is taken")),
            None if self.by_id.len() == MOST_ROOMS => {
                return Err(Refusal::new(codes::OVER_PLAN, "the app holds 10000 rooms"));
            }
            None => {}
        }
        let info = room_info(&id, &name, &owner);
        self.by_id.insert(id, Room { owner, info: info.clone() });
        Ok(Answer::with(json!({ "RoomInfo": info })))
    }

    /// What is known of a room; 100004 when there is none.
    pub(super) fn describe(&self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        let room = self.by_id.get(&named(body)?).ok_or_else(missing)?;
        Ok(Answer::with(json!({ "RoomInfo": room.info })))
    }

    /// Dissolves a room; 100004 when there is none.
    pub(super) fn destroy(&mut self, body: &Map<String, Value>) -> Result<Answer, Refusal> {
        self.by_id.remove(&named(body)?).map(|_| Answer::ok()).ok_or_else(missing)
    }

    fn unused_id(&mut self) -> String {
        loop {
            self.made += 1;
            let id = format!("sandbox-{}", self.made);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

/// Only what the sandbox checks is kept, so that a room has a bound.
fn room_info(id: &str, name: &str, owner: &str) -> Map<String, Value> {
    let members = [("RoomId", id), ("RoomName", name), ("RoomType", "Live"), ("Owner_Account", owner)];
    members.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn named(body: &Map<String, Value>) -> Result<String, Refusal> {
    text(body, "RoomId", 48)?.ok_or_else(|| Refusal::new(codes::BAD_PARAMETER, "RoomId is missing"))
}

/// A member that is a text of 1 to `longest` bytes, if it is there.
fn text(body: &Map<String, Value>, name: &str, longest: usize) -> Result<Option<String>, Refusal> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=longest).contains(&text.len()) => Ok(Some(text.clone())),
        Some(_) => {
            let info = format!("{name} is no text of 1 to {longest} bytes");
            Err(Refusal::new(codes::BAD_PARAMETER, info))
        }
    }
}

fn missing() -> Refusal {
    Refusal::new(codes::NO_SUCH_ROOM, "the room does not exist")
}

/// Our own bound, for each app.
pub(super) const MOST_ROOMS: usize = 10_000;
