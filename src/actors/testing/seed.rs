//! A node that says who it is, and nothing else.

use crate::actors::dial::greet;
use crate::actors::testing::network::Wires;
use crate::actors::wire::{Answer, Call, FromDialler, FromListener, Identity};

/// Answers `Who` at its peer address, whoever asks.
pub(crate) fn answer_who(wires: &Wires, identity: Identity) {
    let network = wires.network();
    tokio::task::spawn_local(async move {
        let listening = network.listen(&identity.contact.address);
        let mut listener = listening.await.unwrap();
        loop {
            let stream = listener.accept().await.unwrap().0;
            let identity = identity.clone();
            tokio::task::spawn_local(async move {
                let mut asker = greet(stream).await.unwrap();
                while let Some(Ok(asked)) = asker.inbox.next().await {
                    let FromDialler::Call {
                        id,
                        call: Call::Who,
                    } = asked
                    else {
                        panic!("{asked:?}");
                    };
                    let answer = Ok(Answer::Who(identity.clone()));
                    let answer = FromListener::Answer { id, answer };
                    asker.outbox.send_when_ready(&answer).await.unwrap();
                }
            });
        }
    });
}
