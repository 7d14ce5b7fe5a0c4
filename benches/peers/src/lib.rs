//! Code that the echo servers share.

use std::io;

/// The port to listen on: the first argument.
pub fn port() -> u16 {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    port.expect("the first argument is the port to listen on")
}

/// Runs a server on one thread.
pub fn run(server: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(server)
}
