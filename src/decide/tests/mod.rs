//! What is tested here: the table walked completely, single decisions with their exact lists of
//! actions, and two nodes with model engines under seeded faults.
mod aged;
mod callbacks;
mod deaths;
mod engine;
mod faults;
mod maintenance;
mod reboots;
mod scheduled;
mod services;
mod single;
mod table;
mod world;
