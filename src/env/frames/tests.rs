//! Connections over in-memory pipes under paused time: life, silence, ends, bounds and bad input.

mod hello;

use std::io;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;

const SILENCE: Duration = Duration::from_millis(SILENCE_MS_MAX);

/// What a socket's buffer would hold.
const PIPE_BYTES: usize = 64 << 10;

type Text = (Outbox<String>, Inbox<String>);

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

fn pair() -> (Text, Text) {
    let (one, other) = duplex(PIPE_BYTES);
    (open(Box::new(one)), open(Box::new(other)))
}

/// A connection whose other end the test plays byte by byte.
fn raw() -> (Text, DuplexStream) {
    let (one, other) = duplex(PIPE_BYTES);
    (open(Box::new(one)), other)
}

fn frame(message: &str) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(message).unwrap();
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_both_ways() {
    local(async {
        let ((out_one, mut in_one), (out_other, mut in_other)) = pair();
        for n in 0..100 {
            out_one.send(&format!("to {n}")).unwrap();
            out_other.send(&format!("fro {n}")).unwrap();
        }
        for n in 0..100 {
            assert_eq!(in_other.next().await, Some(Ok(format!("to {n}"))));
            assert_eq!(in_one.next().await, Some(Ok(format!("fro {n}"))));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_out_in_one_write() {
    local(async {
        let ((outbox, _inbox), mut peer) = raw();
        for message in ["a", "b", "c"] {
            outbox.send(&message.into()).unwrap();
        }
        let mut first = vec![0; PIPE_BYTES];
        let read = peer.read(&mut first).await.unwrap();
        assert_eq!(first[..read], [frame("a"), frame("b"), frame("c")].concat());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives_by_heartbeats() {
    local(async {
        let ((out_one, mut in_one), (out_other, mut in_other)) = pair();
        let start = Instant::now();
        let hour = Duration::from_secs(3_600);
        tokio::task::spawn_local(async move {
            sleep(hour).await;
            out_one.send(&"still there".into()).unwrap();
        });
        assert_eq!(in_other.next().await, Some(Ok("still there".into())));
        assert_eq!(start.elapsed(), hour);
        assert_eq!(
            in_other.next().await,
            None,
            "the sender's outbox was dropped"
        );
        drop(out_other);
        assert_eq!(in_one.next().await, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_reported_once() {
    local(async {
        let ((outbox, mut inbox), _peer) = raw();
        let start = Instant::now();
        assert_eq!(
            inbox.next().await,
            Some(Err(ConnectionError::Silent(SILENCE)))
        );
        assert_eq!(start.elapsed(), SILENCE);
        assert_eq!(inbox.next().await, None);
        assert_eq!(outbox.send(&String::new()), Err(SendError::Closed));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn impatient_polling_does_not_hide_silence() {
    local(async {
        let ((_outbox, mut inbox), _peer) = raw();
        let start = Instant::now();
        let step = Duration::from_millis(100);
        let silent = loop {
            if let Ok(received) = tokio::time::timeout(step, inbox.next()).await {
                break received;
            }
        };
        assert_eq!(silent, Some(Err(ConnectionError::Silent(SILENCE))));
        assert!(start.elapsed() <= SILENCE + step);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_owner_does_not_blame_its_peer() {
    local(async {
        let ((_out_one, mut in_one), (out_other, _in_other)) = pair();
        let first = tokio::time::timeout(Duration::from_millis(1), in_one.next()).await;
        assert!(first.is_err(), "nothing was sent");
        sleep(3 * SILENCE).await;
        out_other.send(&"alive".into()).unwrap();
        assert_eq!(in_one.next().await, Some(Ok("alive".into())));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_in_is_no_silence() {
    local(async {
        let ((_outbox, mut inbox), mut peer) = raw();
        let message = "slow".repeat(5);
        let bytes = frame(&message);
        tokio::task::spawn_local(async move {
            for byte in bytes {
                sleep(SILENCE / 2).await;
                peer.write_all(&[byte]).await.unwrap();
            }
            sleep(SILENCE / 2).await;
        });
        assert_eq!(inbox.next().await, Some(Ok(message)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_without_farewell_means_gone() {
    for partial in [&[][..], &[0, 0], &[0, 0, 0, 9, 1], &[0, 0, 0, 0]] {
        local(async {
            let ((outbox, mut inbox), mut peer) = raw();
            peer.write_all(partial).await.unwrap();
            drop(peer);
            let gone = inbox.next().await.unwrap().unwrap_err();
            assert_eq!(gone, ConnectionError::Gone(io::ErrorKind::UnexpectedEof));
            assert!(gone.is_gone());
            assert!(outbox.is_closed());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_before_the_end_arrives() {
    local(async {
        let ((out_one, in_one), (_out_other, mut in_other)) = pair();
        let large = "x".repeat(3 * PIPE_BYTES);
        out_one.send(&large).unwrap();
        out_one.send(&"last words".into()).unwrap();
        drop((out_one, in_one));
        assert_eq!(in_other.next().await, Some(Ok(large)));
        assert_eq!(in_other.next().await, Some(Ok("last words".into())));
        assert_eq!(in_other.next().await, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn either_half_ends_the_other() {
    local(async {
        let ((out_one, mut in_one), (out_other, in_other)) = pair();
        drop(in_other);
        assert_eq!(out_other.send(&String::new()), Err(SendError::Closed));
        assert_eq!(in_one.next().await, None);
        assert_eq!(out_one.send(&String::new()), Err(SendError::Closed));

        let ((out_one, mut in_one), _other) = pair();
        let ended = tokio::task::spawn_local(async move { in_one.next().await });
        sleep(HEARTBEAT_WAIT).await;
        drop(out_one);
        assert_eq!(ended.await.unwrap(), None);
    })
    .await;
}

const HEARTBEAT_WAIT: Duration = Duration::from_millis(HEARTBEAT_MS);

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_fills_the_outbox_and_then_counts_as_silent() {
    local(async {
        let ((outbox, mut inbox), mut peer) = raw();
        let megabyte = "x".repeat(1 << 20);
        let sent = (0..100).take_while(|_| outbox.send(&megabyte).is_ok());
        assert_eq!(sent.count(), OUTBOX_BYTES_MAX / frame(&megabyte).len());
        assert_eq!(outbox.send(&megabyte), Err(SendError::Full));
        outbox.send(&"a small one still fits".into()).unwrap();
        tokio::task::spawn_local(async move {
            while peer.write_all(&HEARTBEAT.to_be_bytes()).await.is_ok() {
                sleep(HEARTBEAT_WAIT).await;
            }
        });
        assert_eq!(
            inbox.next().await,
            Some(Err(ConnectionError::Silent(SILENCE)))
        );
        assert_eq!(outbox.send(&megabyte), Err(SendError::Closed));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_outbox_is_bounded_in_messages_and_has_room_again() {
    local(async {
        let ((outbox, _inbox), (_out_other, mut in_other)) = pair();
        let sent = (0..).take_while(|_| outbox.send(&String::new()).is_ok());
        assert_eq!(sent.count(), OUTBOX_MESSAGES_MAX);
        assert_eq!(in_other.next().await, Some(Ok(String::new())));
        outbox.send(&String::new()).unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_fits_leaves_no_trace() {
    local(async {
        let ((outbox, _inbox), (_out_other, mut in_other)) = pair();
        let refused = outbox.send(&"x".repeat(FRAME_BYTES_MAX)).unwrap_err();
        let bytes = FRAME_BYTES_MAX + 5;
        assert_eq!(refused, SendError::TooLarge { bytes });
        let largest = "x".repeat(FRAME_BYTES_MAX - 5);
        outbox.send(&largest).unwrap();
        assert_eq!(in_other.next().await, Some(Ok(largest)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bad_frames_are_errors_and_end_the_connection() {
    let too_large = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    let not_a_string = [0, 0, 0, 1, 0xc0];
    for bad in [&too_large[..], &not_a_string] {
        local(async {
            let ((_outbox, mut inbox), mut peer) = raw();
            peer.write_all(&frame("good")).await.unwrap();
            peer.write_all(bad).await.unwrap();
            peer.write_all(&frame("unheard")).await.unwrap();
            assert_eq!(inbox.next().await, Some(Ok("good".into())));
            let error = inbox.next().await.unwrap().unwrap_err();
            assert!(
                matches!(
                    error,
                    ConnectionError::TooLarge { .. } | ConnectionError::Unreadable(_)
                ),
                "{error}"
            );
            assert_eq!(inbox.next().await, None);
        })
        .await;
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(garbage: Vec<u8>, typed in prop::collection::vec(any::<u8>(), 1..40)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true);
        let test = local(async {
            let mut framed = (typed.len() as u32).to_be_bytes().to_vec();
            framed.extend(&typed);
            for bytes in [garbage, framed] {
                let (one, mut peer) = duplex(PIPE_BYTES);
                let (_outbox, mut inbox) = open::<(), Vec<Option<(u8, String)>>>(Box::new(one));
                peer.write_all(&bytes).await.unwrap();
                drop(peer);
                while inbox.next().await.is_some() {}
            }
        });
        runtime.build().unwrap().block_on(test);
    }
}
