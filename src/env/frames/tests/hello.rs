//! Greetings over in-memory pipes.

use super::*;
use crate::env::network::BoxStream;

fn streams() -> (BoxStream, DuplexStream) {
    let (one, other) = duplex(PIPE_BYTES);
    (Box::new(one), other)
}

async fn hear(stream: &mut BoxStream) -> Result<String, ConnectionError> {
    read_hello(stream).await
}

#[tokio::test(start_paused = true)]
async fn a_greeting_takes_not_one_byte_more() {
    let (mut one, other) = streams();
    let mut other: BoxStream = Box::new(other);
    write_hello(&mut one, &"it is me").await.unwrap();
    one.write_all(b"and then").await.unwrap();
    drop(one);
    assert_eq!(hear(&mut other).await, Ok("it is me".into()));
    let mut rest = String::new();
    other.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "and then");
}

#[tokio::test(start_paused = true)]
async fn strangers_are_told_apart() {
    for stranger in [
        "GET / HTTP/1.1\r\nHost: kagero\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let (mut one, mut other) = streams();
        other.write_all(stranger.as_bytes()).await.unwrap();
        assert_eq!(hear(&mut one).await, Err(ConnectionError::Foreign));
    }
}

#[tokio::test(start_paused = true)]
async fn greetings_are_bounded_in_size_and_time() {
    let (mut one, mut other) = streams();
    let refused = write_hello(&mut one, &"x".repeat(HELLO_BYTES_MAX)).await;
    assert!(matches!(refused, Err(ConnectionError::TooLarge { .. })));

    write_hello(&mut one, &"").await.unwrap();
    let mut written = [0; 13];
    other.read_exact(&mut written).await.unwrap();
    let (preamble, _) = written.split_at(8);
    other.write_all(preamble).await.unwrap();
    other.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let refused = hear(&mut one).await;
    assert!(matches!(refused, Err(ConnectionError::TooLarge { .. })));

    let start = Instant::now();
    let silent = hear(&mut one).await.unwrap_err();
    let deadline = Duration::from_millis(HELLO_MS_MAX);
    assert_eq!(silent, ConnectionError::Silent(deadline));
    assert_eq!(start.elapsed(), deadline);

    drop(other);
    assert!(hear(&mut one).await.unwrap_err().is_gone());
}
