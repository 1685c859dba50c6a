//! The clients: a node each, in one process.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use syncro::websocket::upgrade;
use syncro::{Backoff, Encoding, Node, Notice, Notices, Role, Watch, limits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::process::commands;
use crate::{Fault, Mark, Transport};

/// What becomes of one client.
enum Told {
    /// It has a session, and everything that the server had.
    Open,
    Lost,
    Has(i64),
}

/// Runs `count` clients until stdin ends, the last `stalled` of them at the second address.
pub(crate) fn run(
    over: Transport,
    [addr, narrow]: [&str; 2],
    count: usize,
    stalled: usize,
) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let (tell, told) = mpsc::unbounded_channel();
    let (stall, is_stalled) = watch::channel(false);
    let mut nodes = Vec::new();
    for number in 0..count {
        let node = Node::in_memory(&format!("client-{number}"))?;
        let seen = (node.notices(), node.watch::<Mark>());
        runtime.spawn(follow(seen, number >= count - stalled, tell.clone()));
        if number < count - stalled {
            let (node, addr) = (node.clone(), over.address(addr));
            runtime.spawn(async move {
                let _connection = node.connect(&addr);
                node.closed().await;
            });
        } else {
            runtime.spawn(stay(node.clone(), over, narrow.to_owned(), is_stalled.clone()));
        }
        nodes.push(node);
    }
    runtime.spawn(count_up(told, count, stalled));
    commands(|line| {
        match line {
            "stall" => {
                stall.send_replace(true);
                println!("stalled");
            }
            "resume" => {
                stall.send_replace(false);
                println!("resumed");
            }
            "digest" => {
                let mut digests = BTreeMap::new();
                for node in &nodes {
                    *digests.entry(node.digest()?.to_string()).or_insert(0) += 1;
                }
                let each = digests.iter().map(|(digest, nodes)| format!("{digest} of {nodes}"));
                println!("digest {}", each.collect::<Vec<_>>().join(", "));
            }
            _ => return Err(format!("the clients do not understand {line:?}").into()),
        }
        Ok(())
    })
}

/// Tells what becomes of a client.
async fn follow(
    (mut notices, mut marks): (Notices, Watch<Mark>),
    may_stall: bool,
    tell: mpsc::UnboundedSender<(bool, Told)>,
) {
    let mut is_open = false;
    loop {
        let told = tokio::select! {
            notice = notices.next() => match notice {
                Some(Notice::CaughtUp { .. }) if !is_open => Told::Open,
                Some(Notice::Closed { .. }) if is_open => Told::Lost,
                Some(_) => continue,
                None => return,
            },
            mark = marks.next() => match mark {
                Ok(Some(mark)) => Told::Has(mark.after.map_or(0, |mark| mark.id)),
                _ => return,
            },
        };
        match told {
            Told::Open => is_open = true,
            Told::Lost => is_open = false,
            Told::Has(_) => {}
        }
        if tell.send((may_stall, told)).is_err() {
            return;
        }
    }
}

/// Says what has become of all of them.
async fn count_up(mut told: mpsc::UnboundedReceiver<(bool, Told)>, count: usize, stalled: usize) {
    let (mut open, mut have) = (0, BTreeMap::<i64, [usize; 2]>::new());
    while let Some((may_stall, told)) = told.recv().await {
        match told {
            Told::Open => open += 1,
            Told::Lost => open -= 1,
            Told::Has(mark) => {
                let has = have.entry(mark).or_default();
                has[usize::from(may_stall)] += 1;
                if !may_stall && has[0] == count - stalled {
                    println!("others have {mark}");
                }
                if has[0] + has[1] == count {
                    println!("all have {mark}");
                }
                continue;
            }
        }
        if open == 0 || open == count {
            println!("open {open}");
        }
    }
}

/// Keeps a client connected that stops reading when it is told to. When it is told to go on it connects anew.
async fn stay(node: Node, over: Transport, addr: String, mut stall: watch::Receiver<bool>) {
    let mut backoff = Backoff::default();
    loop {
        let is_deaf = Arc::new(AtomicBool::new(false));
        let session = carry(&node, over, &addr, is_deaf.clone());
        let turned = async {
            if stall.wait_for(|is_stalled| *is_stalled).await.is_ok() {
                is_deaf.store(true, Ordering::Relaxed);
                // The sender goes with the process.
                let _ = stall.wait_for(|is_stalled| !is_stalled).await;
            }
        };
        tokio::select! {
            carried = session => if carried.is_ok() { backoff.reset() },
            () = turned => backoff.reset(),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn carry(
    node: &Node,
    over: Transport,
    addr: &str,
    is_deaf: Arc<AtomicBool>,
) -> Result<(), Fault> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(NARROW_BYTES)?;
    let stream = socket.connect(addr.parse()?).await?;
    stream.set_nodelay(true)?;
    let (stream, role) = (Turning { stream, is_deaf }, Role::Dial(Encoding::MessagePack));
    match over {
        Transport::Tcp => node.run(stream, role).await?,
        Transport::WebSocket => {
            let address = over.address(addr).parse()?;
            let frames = upgrade(stream, &address, limits::FRAME_BYTES_MAX).await?;
            node.run_frames(frames, role).await?
        }
    };
    Ok(())
}

/// The least that systems make of it is some kilobytes.
const NARROW_BYTES: u32 = 4096;

/// A stream of which nothing more is read once somebody says so.
struct Turning {
    stream: TcpStream,
    is_deaf: Arc<AtomicBool>,
}

impl AsyncRead for Turning {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.is_deaf.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Turning {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
