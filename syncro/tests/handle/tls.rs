//! Nodes over TLS, with certificates that each test signs itself.

use std::sync::Arc;

use rcgen::CertifiedKey;
use syncro::rustls::crypto::ring;
use syncro::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use syncro::rustls::{ClientConfig, RootCertStore, ServerConfig};
use syncro::{
    CloseReason, ConnectOptions, Encoding, Error, ListenOptions, Listening, NetError, Node, Notice,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Todo, converge, id, node, soon, todo};
use crate::websocket::{notice, refusal};
use crate::wire::HELLO;

/// What a server is by, and a certificate that it is known by, under one name.
fn identity() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([id("localhost")]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), cert.der().clone())
}

/// Trusts these servers and no others.
fn trusting(certs: &[&CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for cert in certs {
        roots.add((*cert).clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn listening(scheme: &str) -> (Node, Listening, CertificateDer<'static>) {
    let node = node("server");
    let (config, cert) = identity();
    let options = ListenOptions::new(format!("{scheme}://127.0.0.1:0")).tls(config);
    let listening = node.listen_with(options).await.unwrap();
    (node, listening, cert)
}

fn addr(scheme: &str, host: &str, listening: &Listening) -> String {
    format!("{scheme}://{host}:{}", listening.local_addr().port())
}

async fn failure(peer: &Node, options: ConnectOptions) -> String {
    let mut notices = peer.notices();
    let _connection = peer.connect_with(options).unwrap();
    let is_failure = |notice: &Notice| matches!(notice, Notice::ConnectFailed { .. });
    notice(&mut notices, is_failure).await.to_string()
}

#[tokio::test]
async fn two_nodes_converge_over_tls_with_and_without_websocket_in_both_encodings() {
    for scheme in ["tls", "wss"] {
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            let (server, listening, cert) = listening(scheme).await;
            let laptop = node("laptop");
            for n in 0..10 {
                let title = "ü".repeat(50_000);
                laptop.create(&Todo { title: title.clone(), ..todo(&format!("l{n}")) }).unwrap();
                server.create(&Todo { title, ..todo(&format!("s{n}")) }).unwrap();
            }
            let mut notices = laptop.notices();
            let options = ConnectOptions::new(addr(scheme, "localhost", &listening))
                .encoding(encoding)
                .tls(trusting(&[&cert]));
            let connection = laptop.connect_with(options).unwrap();
            converge(&server, &laptop).await;
            server.update(&id("l7"), |todo: &mut Todo| todo.views += 5).unwrap();
            converge(&server, &laptop).await;

            server.close().unwrap();
            let is_end = |notice: &Notice| matches!(notice, Notice::Closed { .. });
            let Notice::Closed { reason, .. } = notice(&mut notices, is_end).await else {
                unreachable!()
            };
            assert_eq!(reason, CloseReason::ShuttingDown, "the goodbye is heard");
            soon("it closes", connection.close()).await;
            soon("the server is gone", server.closed()).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_spoken_to() {
    let (server, listening, cert) = listening("tls").await;
    let (_, other) = identity();
    let laptop = node("laptop");
    let unknown =
        ConnectOptions::new(addr("tls", "localhost", &listening)).tls(trusting(&[&other]));
    let why = failure(&laptop, unknown).await;
    assert!(why.contains("certificate"), "{why}");
    let misnamed =
        ConnectOptions::new(addr("tls", "127.0.0.1", &listening)).tls(trusting(&[&cert]));
    let why = failure(&laptop, misnamed).await;
    assert!(why.contains("certificate"), "{why}");
    assert!(server.peers().unwrap().is_empty() && laptop.peers().unwrap().is_empty());
}

#[tokio::test]
async fn where_tls_is_asked_for_nobody_is_heard_without() {
    for scheme in ["tls", "wss"] {
        let (server, listening, _) = listening(scheme).await;
        let mut notices = server.notices();
        let mut stream = TcpStream::connect(listening.local_addr()).await.unwrap();
        let length = u32::try_from(HELLO.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, HELLO.as_bytes()].concat()).await.unwrap();
        assert!(refusal(&mut notices).await.contains("no TLS"));
        let mut heard = Vec::new();
        // A reset is an answer too.
        let _ = soon("it hangs up", stream.read_to_end(&mut heard)).await;
        assert!(!String::from_utf8_lossy(&heard).contains("server"), "{heard:?}");
        assert!(server.peers().unwrap().is_empty());
    }
    let (laptop, server) = (node("laptop"), node("server"));
    let bare = server.listen("127.0.0.1:0").await.unwrap();
    let options = ConnectOptions::new(addr("tls", "localhost", &bare)).tls(trusting(&[]));
    let why = failure(&laptop, options).await;
    assert!(why.contains("no TLS"), "{why}");
}

#[tokio::test]
async fn tls_without_rules_is_the_callers_fault() {
    let node = node("a");
    let errors = [
        node.connect("tls://peer:7").unwrap_err(),
        node.listen("wss://127.0.0.1:0").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Net(NetError::NoTlsConfig { .. })), "{error}");
        assert!(error.to_string().contains("ClientConfig"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tls_handshake_that_never_ends_is_ended() {
    let (server, listening, cert) = listening("tls").await;
    let mut notices = server.notices();
    let _silent = TcpStream::connect(listening.local_addr()).await.unwrap();
    assert!(refusal(&mut notices).await.contains("within 10s"));

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("tls://localhost:{}", silent.local_addr().unwrap().port());
    let why = failure(&node("laptop"), ConnectOptions::new(addr).tls(trusting(&[&cert]))).await;
    assert!(why.contains("within 10s"), "{why}");
}

#[tokio::test]
async fn listening_beyond_the_machine_with_tls_needs_no_warning() {
    let node = node("server");
    let mut notices = node.notices();
    let options = ListenOptions::new("tls://0.0.0.0:0").tls(identity().0);
    let _listening = node.listen_with(options).await.unwrap();
    let told = notices.try_next();
    assert!(matches!(told, Some(Notice::Unlimited { .. })), "{told:?}: of rules, not of TLS");
    assert_eq!(notices.try_next(), None);
}
