//! Hosts on one nats-server, as processes: asked over NATS, at work on the same actors at once,
//! killed, and left without their server.

mod credentials;
mod draining;
pub mod kit;
mod load;
mod permissions;
mod starting;
mod story;
mod under_load;
