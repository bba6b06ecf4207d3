//! The local door of a node: JSON lines over `/run/lockstep/daemon.sock`.
//!
//! ```text
//! client                                daemon
//!   | connect (0600, SO_PEERCRED: root or the daemon's own user)
//!   | {"v":1,"origin":{…},"nodes":"local","module":"web","command":"start"}     one line
//!   | <----- {"node":"n1","body":"progress","text":"…"}                         any number
//!   | <----- {"node":"n1","last":true,"body":"ok","text":null}                  the last one
//!   | next request on the same connection, or close
//! ```
//!
//! A request names the nodes it is meant for. For other nodes than this one the daemon that was
//! asked passes the same request on ([`fanout`]) over the link between daemons, and answers one
//! line per node; only the line that says `last` ends the answer. The same [`Request`] and
//! [`Response`] travel between daemons, there always with [`Nodes::Local`].
//!
//! Versions: `v` is [`VERSION`]. A field that is missing takes its default, a field that is not
//! known is ignored, so both may grow; a daemon refuses a greater `v` in one sentence.
pub mod client;
pub mod fanout;
pub mod noted;
pub mod preflight;
pub mod request;
pub mod response;
pub mod server;
pub mod view;

pub use fanout::{Fanout, Remote};
pub use noted::Noted;
pub use preflight::{AccountView, Finding, Grade, OwnerView, PreflightView};
pub use request::{Command, Nodes, Origin, Request, Switch, UserSetting};
pub use response::{Data, Exit, Refusal, Reply, Response};
pub use server::{Handler, Replies};
pub use view::{
    ClusterView, ConfigView, HeartbeatView, MaintenanceView, ModuleView, NodeView, PeerConfigView,
    PeerView, ProcessView, ReplicationView, ResourceView, SettingsView, VersionView,
};

/// Version of the request and response lines.
pub const VERSION: u32 = 1;

/// Longest line that is accepted, in bytes: an archive of [`request::ARCHIVE_BYTES_MAX`] in
/// hexadecimal, and room for the rest.
pub const LINE_BYTES_MAX: usize = request::ARCHIVE_BYTES_MAX * 2 + 64 * 1024;
