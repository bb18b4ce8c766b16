//! The store as several users see it: threads, dead processes, mirrors, servers.

extern crate polpo_store as store;

mod disk;
mod fetch;
