//! Two processes on one machine converge over a Unix socket: a session runs over any stream of bytes.
//!
//! ```sh
//! cargo run --example unix_socket
//! ```
//!
//! The program starts itself a second time, as the child that connects.

#[cfg(unix)]
use std::error::Error;
#[cfg(unix)]
use std::process::ExitCode;

#[cfg(unix)]
#[tokio::main]
async fn main() -> ExitCode {
    syncro_examples::ended("unix_socket", start().await)
}

#[cfg(unix)]
async fn start() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (None, _) => unix::parent().await,
        (Some("--child"), Some(socket)) => unix::child(&socket).await,
        _ => Err("unix_socket takes no arguments of yours".into()),
    }
}

#[cfg(not(unix))]
fn main() {
    println!("there are no Unix sockets here");
}

#[cfg(unix)]
mod unix {
    use super::Error;
    use syncro::{Encoding, Node, Role, ScribeModel};
    use tokio::net::{UnixListener, UnixStream};

    #[derive(ScribeModel)]
    struct Greeting {
        id: String,
        text: String,
    }

    impl Greeting {
        fn from(who: &str) -> Self {
            Self { id: who.to_owned(), text: format!("hello from the {who}") }
        }
    }

    pub(super) async fn parent() -> Result<(), Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("node");
        // Who may connect is who may use the file: here this user, whose directory it is in.
        let listener = UnixListener::bind(&socket)?;
        let node = Node::in_memory("parent")?;
        node.create(&Greeting::from("parent"))?;

        let program = std::env::current_exe()?;
        let mut child = std::process::Command::new(program).arg("--child").arg(&socket).spawn()?;
        let (stream, _) = listener.accept().await?;
        let end = node.run(stream, Role::Accept).await?;
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        println!("the child has ended the session ({}), and itself ({status})", end.reason);
        say("parent", &node)
    }

    pub(super) async fn child(socket: &str) -> Result<(), Box<dyn Error>> {
        let node = Node::in_memory("child")?;
        node.create(&Greeting::from("child"))?;
        let stream = UnixStream::connect(socket).await?;
        let carrying = node.clone();
        let session =
            tokio::spawn(
                async move { carrying.run(stream, Role::Dial(Encoding::MessagePack)).await },
            );

        // A real program does its work here. This one waits until both hold the same.
        let parent = syncro::NodeId::named("parent");
        node.confirmed_by(parent, 1).await?;
        let mut changes = node.watch::<Greeting>();
        while node.get::<Greeting>(&"parent".to_owned())?.is_none() {
            changes.next().await?;
        }
        say("child", &node)?;
        node.close()?;
        node.closed().await;
        session.await??;
        Ok(())
    }

    fn say(who: &str, node: &Node) -> Result<(), Box<dyn Error>> {
        for greeting in node.list::<Greeting>(|_| true)? {
            println!("{who} has: {}", greeting.text);
        }
        println!("{who} {}", node.digest()?);
        Ok(())
    }
}
