//! Decisions that shape the whole: what, why, and what was turned down.
//!
//! # One current-thread runtime for each worker
//!
//! A worker is a thread with an event loop, a listening socket (`SO_REUSEPORT`) and upstream connections of its own, so a
//! call never changes threads and its parts need no locks. What must be one is shared: ceilings, settings, UserSigs, metrics.
//! Connections that pile up at one worker are handed over when they are accepted. A multi-thread runtime would balance by
//! itself, at the cost of a wake-up across threads for most calls.
//!
//! # An upstream client of our own
//!
//! [`crate::net::client`] stands on hyper's connection API and lets the call itself drive an HTTP/1.1 connection: no task
//! and no channel between a call and its bytes. It also knows what a pooled client does not tell: whether a call's last byte
//! was handed to the kernel, which is when its token's time begins, and whether a failed call may have been executed.
//!
//! # Tokens come home after the answer
//!
//! A token bucket counts calls where they leave, so a delay that varies lets more than the ceiling arrive in some second.
//! Here a token is at home again one second after its call was answered, so each second is kept where Tencent counts. The
//! price is a little of the ceiling: the time that answers take. The proof is in the module `tokens` of
//! [`crate::gateway::admission`].
//!
//! # A pace beside the tokens
//!
//! Tokens alone are exact, and clump: N calls at once, then nothing for a second. A pace spreads them; it only delays, so
//! it needs no proof. A counter for each tenth of a second would be simpler, and lose what one tenth does not use.
//!
//! # The body belongs to the caller's time, not to the call's
//!
//! `upstream.total_timeout` begins when the body is there: until then `limits.body_timeout` holds, and a slow caller takes
//! nothing from the time for waiting and sending. What the caller itself wishes (`x-gateway-timeout`) covers all of it.
//!
//! # A panic costs one call
//!
//! The pipeline catches a panic of its own future with `catch_unwind` and answers 500. A layer around the service does the
//! same, but the future must go on when its caller is gone and anything was sent, so it has a wrapper already.
//!
//! # Files are looked at
//!
//! Configuration, keys and certificates are looked at twice a second, by their metadata. Kubernetes swaps a link above them,
//! editors rename, network file systems tell nobody: a subscription misses one of these or the other, a look none.
//!
//! # Who closes its sending side has hung up
//!
//! A caller that shuts its side down while it waits for an answer cannot be told from one that is gone, so its call is let
//! go like that of any other who leaves: its place and its unsent tokens go back. HTTP clients keep their side open.
//!
//! # One maker of the status page
//!
//! The page's script asks for the page itself and takes over what differs, not for `/status.json`. So what is shown with
//! script is what is shown without, and markup is made and text escaped in one place. A script that draws from JSON would be
//! a second page. What the page shows of the last minute is what counters have grown by, so no call writes anything for it.
//!
//! # An exporter of traces of our own
//!
//! [`crate::telemetry::traces`] and the exporter in [`crate::app`] write OTLP's JSON, of which a call needs four kinds of
//! spans, and send it by the upstream client that is here anyway. The `opentelemetry` crates 0.33 would bring about thirty
//! further crates (with `prost` for either encoding, a second `base64` and another source of randomness), a processor with a
//! thread and clock of its own, and a new interface with each of their releases. The price is that only JSON is spoken, and
//! no gRPC; collectors take both on port 4318.
