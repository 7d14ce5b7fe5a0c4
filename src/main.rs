//! The `wspipe` command.
fn main() {}
