//! The same over TLS.

use std::sync::Arc;

use futures_util::SinkExt;
use rcgen::CertifiedKey;
use serde_json::json;
use syncro::rustls::crypto::ring;
use syncro::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use syncro::rustls::{ClientConfig, RootCertStore, ServerConfig};
use syncro::websocket::Acceptor;
use syncro_classic::{Event, Uid};
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::{PATIENCE, World, world};

/// What a hub is by, and a certificate that it is known by.
fn identity() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), cert.der().clone())
}

fn trusting(cert: CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

async fn encrypted() -> (World, CertificateDer<'static>) {
    let (config, cert) = identity();
    let mut world = world().await;
    let (ann, acceptor) = (Uid::new("ann").unwrap(), Acceptor::default().path("/sync"));
    let listening = world.classic.listen_websocket_tls("127.0.0.1:0", ann, acceptor, config).await;
    world.listening = listening.unwrap();
    (world, cert)
}

#[tokio::test]
async fn a_classic_peer_comes_over_tls() {
    let (world, cert) = encrypted().await;
    let hub = ServerName::try_from("hub").unwrap();
    let stream = trusting(cert).connect(hub, world.stream().await).await.unwrap();
    let (mut peer, _) = client_async("wss://hub/sync", stream).await.unwrap();
    let create = json!({"type": "add_scribe", "id": 1, "scribe":
        {"klass": "Test", "type": "create", "id": "1", "data": {"id": "r1", "name": "a"}}});
    peer.send(Message::text(create.to_string())).await.unwrap();
    let said = [crate::heard(&mut peer).await, crate::heard(&mut peer).await];
    assert_eq!(said[0]["type"], "sync");
    assert_eq!(said[1], json!({"type": "response", "id": 1, "result": true}));
}

#[tokio::test]
async fn whoever_speaks_no_tls_or_trusts_another_hub_is_refused() {
    let (mut world, _) = encrypted().await;
    let mut plain: TcpStream = world.stream().await;
    plain.write_all(b"GET /sync HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{read:?}");
    world.event(|event| matches!(event, Event::Refused { .. })).await;
    let hub = ServerName::try_from("hub").unwrap();
    let other = trusting(identity().1);
    assert!(other.connect(hub, world.stream().await).await.is_err());
    world.event(|event| matches!(event, Event::Refused { .. })).await;
}
