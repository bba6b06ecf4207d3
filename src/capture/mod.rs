//! Where an application's operation enters: the kernel's FUSE protocol, two transports, covers.
//! Nothing here decides anything; requests go to the engine, which answers through the same slot.
pub mod abi;
pub mod device;
pub mod mount;
pub mod ring;
pub mod unguarded;
