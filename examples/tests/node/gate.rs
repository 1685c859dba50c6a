//! A way between two processes that a test opens and closes.
//!
//! It has one address for as long as it lives, whichever port a node behind it got. A connection that comes
//! while it is closed is kept waiting: so a test can look at a node before its peer has told it anything.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Debug)]
pub(crate) struct Gate {
    addr: SocketAddr,
    way: Arc<Way>,
}

/// Where connections go, once they may.
#[derive(Debug, Default)]
struct Way {
    to: Mutex<To>,
    changed: Condvar,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum To {
    #[default]
    Closed,
    Open(String),
    Gone,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let way = Arc::new(Way::default());
        let shared = way.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if *shared.to.lock().unwrap() == To::Gone {
                    return;
                }
                let way = shared.clone();
                thread::spawn(move || way.pass(&stream));
            }
        });
        Self { addr, way }
    }

    pub(crate) fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Lets connections through to an address, and those that wait.
    pub(crate) fn open(&self, addr: &str) {
        self.way.set(To::Open(addr.to_owned()));
    }

    /// Lets nobody in from now on; who has passed stays connected.
    pub(crate) fn close(&self) {
        self.way.set(To::Closed);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.way.set(To::Gone);
        // The listener wakes up to see it.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Way {
    fn set(&self, to: To) {
        *self.to.lock().unwrap() = to;
        self.changed.notify_all();
    }

    /// Carries a connection until either side ends it.
    fn pass(&self, near: &TcpStream) {
        let Some(far) = self.way_through() else { return };
        for stream in [near, &far] {
            let _ = stream.set_nodelay(true);
        }
        thread::scope(|scope| {
            scope.spawn(|| carry(near, &far));
            carry(&far, near);
        });
    }

    /// Waits until the gate is open to somebody who answers; `None` when it is gone.
    fn way_through(&self) -> Option<TcpStream> {
        let mut to = self.to.lock().unwrap();
        loop {
            match &*to {
                To::Gone => return None,
                To::Open(addr) => match TcpStream::connect(addr) {
                    Ok(far) => return Some(far),
                    // It has been killed, and somebody will open the gate to its successor.
                    Err(_) => to = self.changed.wait(to).unwrap(),
                },
                To::Closed => to = self.changed.wait(to).unwrap(),
            }
        }
    }
}

/// Copies what comes from one side, and ends both with it: a process that was killed hears nothing.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
