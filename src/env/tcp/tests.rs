//! Frames over real loopback sockets: addresses, greetings, and who is gone.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use super::*;
use crate::env::frames::{ConnectionError, SendError, open, read_hello, write_hello};

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

/// A listener on a free port, and its address as text.
async fn listening(host: &str) -> (Box<dyn Listener>, String) {
    let listener = Tcp.listen(&format!("{host}:0")).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("{host}:{port}"))
}

/// Both ends of a connection.
async fn connected() -> (BoxStream, BoxStream) {
    let (mut listener, address) = listening("127.0.0.1").await;
    let one = Tcp.connect(&address).await.unwrap();
    let (other, _) = listener.accept().await.unwrap();
    (one, other)
}

#[tokio::test]
async fn an_end_without_power_is_noticed() {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    configure(&stream).unwrap();
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    let dead_after = sockopt::tcp_keepidle(&stream).unwrap()
        + sockopt::tcp_keepintvl(&stream).unwrap() * sockopt::tcp_keepcnt(&stream).unwrap();
    assert_eq!(dead_after, Duration::from_secs(30));
}

#[tokio::test]
async fn bytes_pass_over_ipv4_ipv6_and_names() {
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let (mut listener, address) = listening(host).await;
        let mut one = Tcp.connect(&address).await.unwrap();
        let (mut other, from) = listener.accept().await.unwrap();
        assert!(from.ip().is_loopback());
        one.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        other.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
    }
}

#[tokio::test]
async fn a_restarted_node_listens_at_its_address_at_once() {
    let (mut listener, address) = listening("127.0.0.1").await;
    let mut one = Tcp.connect(&address).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    // The side that closes first keeps the port in TIME_WAIT.
    other.shutdown().await.unwrap();
    assert_eq!(one.read(&mut [0]).await.unwrap(), 0);
    drop((one, other, listener));
    Tcp.listen(&address).await.unwrap();
}

#[tokio::test]
async fn addresses_that_make_no_sense_are_errors() {
    for address in ["", "nowhere", "127.0.0.1", "127.0.0.1:x", "::1:80:"] {
        assert!(Tcp.listen(address).await.is_err(), "{address}");
        assert!(Tcp.connect(address).await.is_err(), "{address}");
    }
}

#[tokio::test]
async fn a_dialled_peer_answers_after_it_has_looked() {
    local(async {
        let (mut listener, address) = listening("127.0.0.1").await;
        let answering = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let name: String = read_hello(&mut stream).await.unwrap();
            write_hello(&mut stream, &format!("hello, {name}"))
                .await
                .unwrap();
            let (outbox, mut inbox) = open::<String, u64>(stream);
            let number = inbox.next().await.unwrap().unwrap();
            outbox.send(&number.to_string()).unwrap();
        });
        let mut stream = Tcp.connect(&address).await.unwrap();
        write_hello(&mut stream, &"n1").await.unwrap();
        let theirs: String = read_hello(&mut stream).await.unwrap();
        assert_eq!(theirs, "hello, n1");
        let (outbox, mut inbox) = open::<u64, String>(stream);
        outbox.send(&42).unwrap();
        assert_eq!(inbox.next().await, Some(Ok("42".into())));
        assert_eq!(inbox.next().await, None);
        answering.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn nobody_listening_means_gone() {
    let (listener, address) = listening("127.0.0.1").await;
    drop(listener);
    let refused = Tcp.connect(&address).await.err().map(ConnectionError::from);
    let gone = ConnectionError::Gone(io::ErrorKind::ConnectionRefused);
    assert_eq!(refused, Some(gone));
}

#[tokio::test]
async fn a_killed_process_means_gone() {
    local(async {
        let (one, mut other) = connected().await;
        let (outbox, mut inbox) = open::<String, String>(one);
        outbox.send(&"unread".into()).unwrap();
        other.read_u8().await.unwrap();
        // As the kernel does for a process that is no more; unread bytes make it a reset.
        drop(other);
        let gone = inbox.next().await.unwrap().unwrap_err();
        assert!(gone.is_gone(), "{gone}");
    })
    .await;
}

/// Without lingering, the bytes that the closing side had not read would make its kernel send a reset at once and
/// throw away what it has not sent yet.
#[tokio::test]
async fn an_orderly_end_under_full_traffic_is_no_death() {
    local(async {
        let (one, other) = connected().await;
        let (out_one, mut in_one) = open::<String, String>(one);
        let (out_other, mut in_other) = open::<String, String>(other);
        let flooding = tokio::task::spawn_local(async move {
            let chunk = "x".repeat(100_000);
            while out_one.send(&chunk) != Err(SendError::Closed) {
                tokio::task::yield_now().await;
            }
        });
        assert!(in_other.next().await.unwrap().is_ok());
        let last_words = "x".repeat(1 << 20);
        out_other.send(&last_words).unwrap();
        drop((out_other, in_other));
        // A reader that is late, so that much is still unsent when the other side closes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(in_one.next().await, Some(Ok(last_words)));
        assert_eq!(in_one.next().await, None);
        flooding.await.unwrap();
    })
    .await;
}
