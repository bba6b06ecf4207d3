//! What a node remembers of the right to write, of its own copy, and of what the peer may lack.
//!
//! Three questions are answered here, two of them without a clock, a file or a socket:
//!
//! ```text
//! who may lead, and how is the other brought level?   lineage, standing, handshake   (pure)
//! what may the peer lack?                             dirty, recent                  (pure)
//! how does either survive a power cut?                files                          (the edge)
//! ```
//!
//! One law rules all three: a mistake may cost a comparison, it may never hide a difference.
pub mod dirty;
pub mod files;
pub mod handshake;
pub mod lineage;
pub mod recent;
pub mod standing;

pub use dirty::{
    Counts, DirtyRecord, DirtySet, Mark, ObjectKey, PageMap, Part, Portion, ZONES_PER_MARK_MAX,
};
pub use files::{
    DirtyFile, FileError, LineageFile, Loaded, LoadedDirty, Memory, MemoryFile, Remembered,
    is_full, with_reserve,
};
pub use handshake::{discard, handshake};
pub use lineage::{LineageError, Relation, common_point, is_ancestor, relate};
pub use recent::Recent;
pub use standing::{Leads, Standing, who_must_lead};
