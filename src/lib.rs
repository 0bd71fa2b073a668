//! usersig-gateway: one place that signs, paces, forwards and counts a company's calls to Tencent Cloud's Live,
//! Chat, Conference and Call server REST API.
//!
//! Internal services call it over plain HTTP and without credentials. [`gateway`] takes each call through one way:
//! who calls ([`gateway::caller`]), which app and API are meant ([`gateway::target`]), whether that is allowed
//! ([`gateway::policy`]), whose turn it is under Tencent's ceiling ([`gateway::admission`]), with which UserSig
//! ([`gateway::credentials`]), to which host ([`gateway::forward`]), and what the answer says
//! ([`gateway::outcome`]). Every call ends in one record and one reply.
//!
//! The floors, imports pointing down only (a test keeps it so):
//!
//! | floor | modules |
//! | --- | --- |
//! | 6 | `main`, [`cli`], `fuzzing` |
//! | 5 | [`app`] |
//! | 4 | [`config`] |
//! | 3 | [`admin`] |
//! | 2 | [`gateway`], [`sandbox`] |
//! | 1 | [`net`], [`telemetry`] |
//! | 0 | [`model`], [`clock`], [`manual`] |

pub mod cli;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub mod app;

pub mod config;

pub mod admin;

pub mod gateway;
pub mod sandbox;

pub mod net;
pub mod telemetry;

pub mod clock;
pub mod manual;
pub mod model;
