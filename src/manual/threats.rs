//! Threats: what is protected, from whom, where each is stopped, and which test shows it.
//!
//! # What is protected
//!
//! - **The secret keys.** Whoever has one can act as every user of an app, for ever.
//! - **UserSigs.** Whoever has an administrator's UserSig can do what the app's server may do, until it expires.
//! - **The right to call.** The gateway signs for whoever may call it, so a call that it lets through is a call with an
//!   administrator's rights.
//! - **The ceiling.** Who uses it up stops the company's own calls.
//! - **What answers hold**: people's messages, and in one API (`get_callback_token`) a secret.
//!
//! # Who is trusted for what
//!
//! - *Operators*: whoever writes the configuration, reads key files or has the admin token can do everything.
//! - *Callers*: may make the calls that the rules allow, and are trusted with their answers. Nothing that a caller
//!   writes gives rights: not its name, not an address in a header, not a UserSig of its own.
//! - *Tencent's hosts*: are trusted with a UserSig, after their certificate was checked against their name, and with no
//!   memory, no time and no right to send the gateway elsewhere.
//! - *Networks, DNS and proxies on the way*: with nothing. What they can do is to refuse service.
//!
//! # What the network must provide
//!
//! The gateway listener takes plain HTTP by default, so whoever can read its network reads calls and answers. It
//! belongs on loopback, on a Unix socket, on a network that only trusted services reach, or behind `[listen.tls]`. A
//! proxy or a NAT before it hides who calls: rules by address then see the proxy. The admin listener belongs on
//! loopback or on a network that only Prometheus and operators reach.
//!
//! The machine's own roots say whose certificates are good (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name in the
//! environment, or those built in), and `app.ca_file` beside them. Its clock must be right.
//!
//! # What is out of scope
//!
//! Whoever runs code as the gateway's own user, or as root, on its machine. A service that is allowed to call and was
//! taken over: rules, the ceiling and the access log bound what it can do and tell of it. Weaknesses of HMAC-SHA256 or
//! of Tencent's own service. Floods of packets below HTTP.
//!
//! Two limits are known. Where the admin listener is reached by another address than loopback, names are not looked at, so
//! that a page which lets its name lead there can read metrics and status with GET; it gives no command. And of a UserSig
//! that an answer echoes in part, only its first half and what follows it is masked; nobody has seen a host of Tencent's
//! echo one at all. The copies of a UserSig in buffers on their way out are not wiped, and a key in an environment variable
//! stays there: a file is better.
//!
//! # Threat, place, test
//!
//! | threat | stopped by | shown by |
//! | --- | --- | --- |
//! | a key is printed with a value that holds it | `model::secret`: no `Display`, no `Serialize`, `Debug` without content | `canary::debug::no_value_that_holds_a_secret_shows_it`, `canary::debug::no_whole_that_holds_one_shows_it_either`, `canary::debug::no_type_with_a_secrets_own_bytes_derives_debug` |
//! | a key or UserSig is in a log line, a metric, the status or an error, whatever level is asked for | `telemetry::logs::filter`: libraries that see whole requests are silent | `canary::at_the_finest_level_no_path_shows_eight_bytes_of_a_secret`, `canary::at_no_level_whoever_asks_for_it_eight_bytes_of_a_secret_are_shown`, `telemetry::logs::rust_log_never_opens_what_sees_whole_requests` |
//! | a command prints a key, or a UserSig that nobody asked it for | `cli` | `canary::commands::no_command_but_sign_prints_a_secret`, `canary::demo::the_demo_shows_no_secret` |
//! | the password of the store of shared ceilings is shown | `model::secret`, `config::problem`: what may be one is not quoted | `canary::store::the_password_of_the_store_is_shown_nowhere`, `config::problem::a_password_in_the_place_of_its_file_or_variable_is_not_shown` |
//! | a panic quotes a key | `cli::serve`: a panic tells its place only | `cli::serve::a_panic_tells_its_place_and_nothing_of_what_it_quotes` |
//! | a UserSig that a caller put into its URL is logged | `gateway::record`: lines are made of names that were parsed, never of the URL | `access_log::nothing_of_the_url_is_told_wherever_a_usersig_stands_in_it` |
//! | an answer echoes the URL with its UserSig | `gateway::outcome::mask` | `unusable::an_answer_that_echoes_the_url_shows_no_usersig`, `unusable::a_long_answer_that_echoes_the_url_shows_no_usersig_wherever_it_stands` |
//! | a header of an answer echoes it | `gateway::reply`: two travel back, and only short ones | `untrusted::no_header_of_an_answer_shows_the_usersig`, `rewriting::of_an_answers_headers_only_its_type_and_date_travel_back` |
//! | a problem of the configuration quotes a key | `config::problem` | `config::problem::what_may_be_secret_is_not_quoted`, `config::secret::a_key_in_the_place_of_its_path_is_not_shown`, `config::a_key_that_stands_where_a_name_belongs_is_not_shown` |
//! | a key file is open to everybody, or everybody may send calls elsewhere by the configuration | `config::disk` | `check::a_key_file_that_everybody_may_read_is_a_warning`, `check::a_file_that_everybody_may_write_is_a_warning` |
//! | a crash writes the memory to a disk | `cli`: no core dumps | `life_cycle::a_crash_writes_no_memory_to_a_disk` |
//! | a fault in the gateway gives whoever finds it the rights of root | it asks for none, and locks no memory | `life_cycle::it_serves_without_root_and_locks_no_memory` |
//! | a key that was exchanged is used on, or a new one is not taken | `config::watch`, `gateway::credentials` | `reload::a_key_that_is_exchanged_in_its_file_is_taken_by_itself`, `reload::once_a_new_key_is_in_the_file_no_call_fails_for_the_old_one` |
//! | a key that is no longer in use is found in memory | `model::secret`, `config::disk`: wiped when dropped | `reload::a_key_that_was_exchanged_is_wiped_from_memory` |
//! | a caller's own credentials travel on, or the gateway's travel twice | `gateway::forward::rewrite` | `signing::a_call_without_credentials_arrives_with_each_of_the_five_once`, `rewriting::only_the_headers_of_the_contract_travel_out` |
//! | a caller makes calls that it may not make | `gateway::policy`, before a turn is taken or anything signed | `rules::a_refused_call_costs_no_token_and_its_body_is_not_waited_for`, `rules::the_source_address_decides_and_no_header_does` |
//! | a caller writes a path so that the rule sees another API than Tencent | `gateway::target`: decided and forwarded on one parsed value | `rules::no_way_of_writing_a_request_reaches_another_api_or_app`, `routing::an_odd_path_gets_a_clear_no_and_is_never_sent` |
//! | a rule with a wildcard opens the API that answers a secret | `gateway::policy` | `gateway::policy::a_secret_is_answered_only_where_it_is_named_in_full` |
//! | a page in somebody's browser calls a gateway on loopback | `gateway::caller`, `admin::commands` | `rules::a_browser_is_refused_under_any_rule`, `routing::requests_from_browsers_are_refused_before_they_learn_anything`, `admin::who_may_command_depends_on_token_and_place_and_no_browser_may` |
//! | … and lets its name lead to loopback, to read what is told there | `gateway::pipeline`: what is no POST learns nothing; `admin::routes`: on loopback a name that may be anybody's is refused | `routing::only_post_is_taken`, `admin::a_page_that_lets_its_name_lead_to_loopback_reads_nothing` |
//! | somebody commands the process | `admin::commands`: only by POST, from this machine or with the token | `admin::who_may_command_depends_on_token_and_place_and_no_browser_may`, `admin::each_path_has_its_methods` |
//! | a listener is open to a network by mistake | `config::resolve::listen` warns | `config::what_is_allowed_and_probably_not_meant_is_a_warning` |
//! | one request is read as two | `net::connection` on hyper, which refuses what is framed twice; `gateway::pipeline::request`, which refuses codings beside chunked | `http_edge::what_is_framed_ambiguously_is_never_two_calls`, `http_edge::chunks_are_read_strictly`, `http_edge::request_lines_of_every_kind`, `http2_edge::a_request_that_is_none_reaches_nobody`, `http2_edge::frames_out_of_order_or_without_an_end_reach_nobody` |
//! | a caller chooses the host that a call goes to | `gateway::forward`: hosts come from the settings alone | `routing::nothing_that_a_caller_sends_chooses_the_host` |
//! | slow or silent callers hold connections and memory | `net::connection`: a limit on every wait | `http_edge::a_head_that_comes_too_slowly_is_408`, `net::connection::a_caller_that_does_not_read_its_answer_is_not_kept`, `bodies::a_body_that_breaks_off_or_does_not_come_is_told_apart`, `connections::an_idle_connection_is_closed_without_a_word_whether_it_ever_spoke_or_not`, `slow_connections::others_are_served_beside_slow_connections` |
//! | long heads and bodies, many bodies at once | `limits` | `http_edge::a_head_that_is_too_long_is_431`, `bodies::a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer`, `overload::bodies_of_requests_together_take_half_of_the_memory_and_not_more` |
//! | one caller takes all connections | `net::listener`: a bound for all, and `listen.max_connections_per_source` for one address or user | `connections::beyond_the_bound_of_its_source_a_connection_is_turned_away_and_others_are_served`, `connections::over_a_unix_socket_a_source_is_a_user`, `connections::beyond_the_bound_for_all_everybody_is_turned_away`, `overload::a_caller_beyond_the_connections_hears_so_when_it_asks_and_however_it_speaks` |
//! | made-up APIs, callers and codes fill metrics and ceilings | `telemetry::labels`, `gateway::target::apis` | `routing::beyond_a_thousand_unknown_apis_all_share_one_bucket_and_label`, `telemetry::metrics::callers_beyond_the_cap_share_a_label` |
//! | a made-up name for each call passes others who wait | `gateway::admission::fair` | `gateway::admission::fair::ever_new_names_never_pass_one_who_waits` |
//! | bytes of a caller's, an operator's or an upstream's make the gateway panic or misread them | `fuzzing`: each is held against a second reading | `fuzzing::every_target_holds_on_its_corpus` |
//! | somebody plays Tencent's host | `net::client`: certificate and name are checked always, TLS 1.2 or later | `upstream::a_certificate_of_an_unknown_authority_is_not_trusted`, `upstream::a_trusted_certificate_for_another_name_gets_no_call_and_the_backup_does`, `failover::a_primary_with_a_wrong_certificate_gets_no_call`, `untrusted::a_certificate_that_has_expired_is_not_trusted`, `untrusted::only_tls_1_2_and_later_is_offered_and_no_name_is_left_out`, `untrusted::nothing_switches_verification_off` |
//! | an answer sends the gateway elsewhere | `gateway::forward` follows no redirect | `rewriting::a_redirect_is_not_followed` |
//! | an answer has no end, or is packed so that it grows without one | `net::body`, `gateway::outcome` | `answers::an_answer_over_the_bound_is_not_relayed`, `net::body::gunzip::a_bomb_is_known_by_its_ratio_long_before_the_limit`, `overload::answers_that_nobody_takes_are_bounded_and_what_they_held_comes_back` |
//! | an answer's head has no end, or speaks another protocol | `net::client`: a hundred headers, 256 KiB over HTTP/1.1 and 64 KiB over HTTP/2, within the time of one try | `untrusted::an_answers_head_has_bounds`, `untrusted::over_http2_an_answers_head_has_bounds_too`, `untrusted::an_answer_in_another_protocol_or_none_is_no_answer`, `untrusted::announcements_without_an_end_take_no_longer_than_an_answer_may` |
//! | a call is sent round and round | `config::resolve::listen`, and `net::client::own` where no configuration can tell | `own_listeners::a_call_that_would_come_back_is_not_sent`, `own_listeners::neither_over_tls_nor_to_the_admin_listener_is_one_sent`, `net::client::own::an_own_listener_is_known_by_the_connections_addresses` |
//! | a page of a proxy on the way passes for an answer | `gateway::outcome`: nothing without an ErrorCode is relayed | `unusable::what_is_no_answer_becomes_the_gateways_own_502`, `unusable::json_without_a_code_of_its_own_is_no_answer_either` |
//! | a storm of wrong signatures has Tencent look at none (70050) | `gateway::trip` | `trips::a_storm_of_calls_sends_no_more_than_a_handful_of_refused_usersigs` |
//! | a wrong write is repeated | `gateway::attempt` | `attempts::a_write_is_never_repeated_when_nobody_knows_what_became_of_it` |
//! | text of a caller's becomes markup or a forged line | `admin::page`, `telemetry::logs::lines` | `admin::page::whatever_is_shown_is_text_and_no_markup`, `admin::page::the_policy_allows_the_one_style_and_the_one_script_by_their_hashes`, `telemetry::logs::lines::an_event_is_one_line_whatever_it_holds` |
