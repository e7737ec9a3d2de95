//! Stored data is damaged in every way that a disk, a restore or a stranger can: it is found, it
//! is named, and an operator can let the rest go on.

mod embedded;
mod jetstream;
mod kit;
mod pages;
mod replicas;
mod shared;
mod witnesses;
