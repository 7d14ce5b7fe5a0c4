//! A server under measurement: started on its core, and terminated in any case.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::core::Cores;

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(15);

/// How long a server may take to exit after SIGTERM, before SIGKILL.
const END_MAX: Duration = Duration::from_secs(10);

/// A server that listens. Dropping it terminates the server.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the command that `command` makes for a port, and waits until it listens there.
    pub(crate) fn start(
        cores: Cores,
        command: impl FnOnce(u16) -> Command,
    ) -> Result<Server, String> {
        let address = free_address().map_err(|error| format!("no free port: {error}"))?;
        let mut command = command(address.port());
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = cores
            .on_server(|| command.spawn())
            .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let mut server = Server { child, address };
        server.await_start()?;
        Ok(server)
    }

    fn await_start(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it exited at start: {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it did not listen within {START_MAX:?}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends SIGTERM, and waits for the exit.
    fn end(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        // The PID is still the server's: a server that has exited is not reaped yet.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + END_MAX;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A free address on loopback. Another process might take it first; then the server says so and the
/// measurement fails, which is rare enough.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
