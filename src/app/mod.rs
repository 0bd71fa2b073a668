//! Running the gateway: settings in, a running process out.
