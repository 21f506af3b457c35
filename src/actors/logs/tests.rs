//! A log's way between two nodes, and readers that pause or leave.

use super::*;
use crate::actors::messages::LogOptions;
use crate::actors::testing::network::Wires;
use crate::env::frames;

type Reader = (Outbox<FromDialler>, Inbox<FromListener>);
type Writer = (Outbox<FromListener>, Inbox<FromDialler>);

/// Both ends of a connection on which a log was asked for.
async fn ends() -> (Reader, Writer) {
    let network = Wires::default().network();
    let mut listener = network.listen("[::1]:1").await.unwrap();
    let near = frames::open(network.connect("[::1]:1").await.unwrap());
    let far = frames::open(listener.accept().await.unwrap().0);
    (near, far)
}

#[actix::test]
async fn a_reader_may_pause_for_long() {
    const PIECES: usize = 200;
    static PIECE: [u8; 32 << 10] = [7; 32 << 10];
    tokio::time::pause();
    let ((near, mut inbox), (far, mut asked)) = ends().await;
    let (log, stream) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        for _ in 0..PIECES {
            log.send(Ok(Bytes::from_static(&PIECE))).await.unwrap();
        }
    });
    let sending = tokio::task::spawn_local(async move {
        let ended = send_pieces(stream, &far, &mut asked).await;
        far.send(&FromListener::LogEnded(ended.expect("the reader is there")))
    });
    let opening = inbox.next().await;
    assert!(matches!(opening, Some(Ok(FromListener::Log(piece))) if piece.is_empty()));
    let (pieces, mut read) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_local(pump(near, inbox, pieces));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let mut count = 0;
    while let Some(piece) = read.recv().await {
        count += usize::from(!piece.unwrap().is_empty());
        if count == PIECES {
            break;
        }
    }
    assert_eq!(count, PIECES);
    sending.await.unwrap().unwrap();
}

#[actix::test]
async fn a_reader_that_leaves_is_noticed_before_the_log_opens() {
    /// Whom nothing is ever heard from.
    struct Stuck;

    impl Actor for Stuck {
        type Context = Context<Self>;
    }

    impl Handler<ReadLog> for Stuck {
        type Result = ResponseFuture<Result<LogStream, Status>>;

        fn handle(&mut self, _: ReadLog, _: &mut Self::Context) -> Self::Result {
            Box::pin(std::future::pending())
        }
    }

    tokio::time::pause();
    let ((near, inbox), (far, mut asked)) = ends().await;
    drop((near, inbox));
    let open = OpenLog {
        node: "n".into(),
        namespace: "default".into(),
        pod: "p".into(),
        uid: "u".into(),
        container: "c".into(),
        options: LogOptions::default(),
    };
    let agent = Stuck.start().recipient();
    let answered = answer_log(&agent, open, &far, &mut asked);
    let answered = timeout(Duration::from_secs(60), answered).await;
    assert!(answered.is_ok(), "it waits for an engine that hangs");
}

#[actix::test]
async fn a_reader_that_leaves_ends_a_quiet_log() {
    tokio::time::pause();
    let ((near, inbox), (far, mut asked)) = ends().await;
    let (log, stream) = mpsc::channel(1);
    let (pieces, read) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_local(pump(near, inbox, pieces));
    drop(read);
    let ended = send_pieces(stream, &far, &mut asked);
    let ended = timeout(Duration::from_secs(60), ended).await;
    assert_eq!(ended.expect("it ends by itself"), None);
    assert!(log.is_closed());
}
