//! The server: a node in a file, and two ports.

use syncro::websocket::Acceptor;
use syncro::{Node, Role, limits};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::process::commands;
use crate::{Fault, Load, Mark, Transport};

/// Runs until stdin ends.
pub(crate) fn run(over: Transport, store: &str, addr: &str, narrow: &str) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let node = Node::open(store, "server")?;
    let _entered = runtime.enter();
    let listening = runtime.block_on(node.listen(&over.address(addr)))?;
    println!("listening on {}", listening.local_addr());
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(NARROW_BYTES)?;
    socket.bind(narrow.parse()?)?;
    let listener = socket.listen(1024)?;
    println!("narrow on {}", listener.local_addr()?);
    runtime.spawn(take_narrow(node.clone(), over, listener));

    commands(|line| {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["write", times, bytes] => {
                println!("written {}", write(&node, times.parse()?, bytes.parse()?)?);
            }
            ["sessions"] => {
                let sessions = node.sessions();
                let behind = sessions.iter().filter(|session| session.outgoing > 0).count();
                println!("sessions {}\nbehind {behind}", sessions.len());
            }
            ["digest"] => println!("digest {}", node.digest()?),
            _ => return Err(format!("the server does not understand {line:?}").into()),
        }
        Ok(())
    })?;
    node.close()?;
    runtime.block_on(node.closed());
    Ok(())
}

/// Takes those who will stop reading. The system would take in some 2.5 MiB for each of them before the node has to
/// hold anything back; here it takes as little as it can.
async fn take_narrow(node: Node, over: Transport, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let node = node.clone();
        tokio::spawn(async move {
            // How it ended, the clients' side tells.
            let _ = carry(&node, over, stream).await;
        });
    }
}

async fn carry(node: &Node, over: Transport, stream: TcpStream) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    match over {
        Transport::Tcp => node.run(stream, Role::Accept).await?,
        Transport::WebSocket => {
            let frames = Acceptor::default().accept(stream, limits::FRAME_BYTES_MAX).await?;
            node.run_frames(frames, Role::Accept).await?
        }
    };
    Ok(())
}

/// Writes a record so many times, with so many bytes, and then a mark; returns its number.
fn write(node: &Node, times: usize, bytes: usize) -> Result<i64, Fault> {
    let mark = Mark { id: 1 + i64::try_from(node.list::<Mark>(|_| true)?.len())? };
    for time in 0..times {
        // Another text than the last time, or there would be nothing to tell.
        let text = format!("{} {time} {}", mark.id, "x".repeat(bytes));
        node.save(&Load { id: 1, text })?;
    }
    node.create(&mark)?;
    Ok(mark.id)
}

/// The least that systems make of it is some kilobytes.
const NARROW_BYTES: u32 = 4096;
