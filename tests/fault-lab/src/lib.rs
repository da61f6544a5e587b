//! A broker and a link that misbehave on command, and a real site between them: store, uplink and district.
//! What was accepted must arrive in the end; every check is made from outside, on rows and files.

pub mod broker;
pub mod link_proxy;
pub mod month;
pub mod schedule;
pub mod site;
pub mod trial;
