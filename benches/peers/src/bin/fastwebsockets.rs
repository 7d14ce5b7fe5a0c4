//! An echo server on fastwebsockets, on one thread: `fastwebsockets PORT`. Its loop is that of the
//! crate's own example. The opening handshake is implemented here, since the crate leaves it to
//! others.

use std::io::ErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest message.
const MESSAGE_LEN_MAX: usize = 64 << 20;

fn main() -> std::io::Result<()> {
    let port = peers::port();
    peers::run(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A client that leaves does not stop the server.
            tokio::spawn(async move { drop(echo(stream).await) });
        }
    })
}

async fn echo(mut stream: TcpStream) -> Result<(), WebSocketError> {
    shake_hands(&mut stream).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_max_message_size(MESSAGE_LEN_MAX);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// The simplest handshake that works with this load, whose request is valid and comes in one piece.
async fn shake_hands(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = [0; 4096];
    let n = stream.read(&mut head).await?;
    let text = String::from_utf8_lossy(&head[..n]);
    let key = text
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .ok_or(ErrorKind::InvalidData)?;
    let mut hash = sha1_smol::Sha1::from(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.digest().bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await
}
