//! The admin listener: health, metrics and status. Reads snapshots, changes nothing.
