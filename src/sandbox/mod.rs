//! A stand-in for one region of Tencent's REST API, for the demo, for users' own tests and for ours.
