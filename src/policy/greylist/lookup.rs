//! What is missing in memory is looked up, together with what others miss at the same moment.

use parking_lot::Mutex;
use posthorn_store::policy::correspondents::{self, Correspondent};
use posthorn_store::policy::greylist::{self, Client, Triplet};
use posthorn_store::{Result, Store};
use tokio::sync::oneshot;

use crate::generations::Key;

/// Those that wait at once; more are not waited for.
const WAITING: usize = 20_000;

/// What somebody misses.
pub(super) struct Missing {
    pub(super) key: Key,
    pub(super) client: Option<String>,
    pub(super) pairs: Vec<(String, String)>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) triplets: Vec<Triplet>,
    pub(super) clients: Vec<Client>,
    pub(super) correspondents: Vec<Correspondent>,
}

/// Those who wait. Whoever comes first asks for all that came until it is its turn.
#[derive(Default)]
pub(super) struct LookUps {
    waiting: Mutex<Vec<(Missing, oneshot::Sender<()>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl LookUps {
    /// Finds out what somebody misses, and hands it to `take` before it returns; `false` when nobody could find out.
    pub(super) async fn ask(&self, missing: Missing, store: &Store, take: impl Fn(&Rows)) -> Result<bool> {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            // Who gave up waits no more.
            if waiting.len() >= WAITING {
                waiting.retain(|(_, answer)| !answer.is_closed());
                if waiting.len() >= WAITING {
                    return Ok(false);
                }
            }
            waiting.push((missing, answer));
        }
        let _turn = tokio::select! {
            biased;
            done = &mut answered => return Ok(done.is_ok()),
            turn = self.turn.lock() => turn,
        };
        if answered.try_recv().is_ok() {
            return Ok(true);
        }
        let all = std::mem::take(&mut *self.waiting.lock());
        let rows = find(store, &all).await?;
        take(&rows);
        for (_, answer) in all {
            // Who gave up needs no answer.
            let _ = answer.send(());
        }
        Ok(true)
    }
}

async fn find(store: &Store, all: &[(Missing, oneshot::Sender<()>)]) -> Result<Rows> {
    let mut connection = store.acquire().await?;
    let keys: Vec<Vec<u8>> = all.iter().map(|(missing, _)| missing.key.to_be_bytes().to_vec()).collect();
    let networks: Vec<String> = all.iter().filter_map(|(missing, _)| missing.client.clone()).collect();
    let (ours, theirs): (Vec<String>, Vec<String>) =
        all.iter().flat_map(|(missing, _)| missing.pairs.iter().cloned()).unzip();
    let mut rows = Rows { triplets: greylist::find_triplets(&mut connection, &keys).await?, ..Rows::default() };
    if !networks.is_empty() {
        rows.clients = greylist::find_clients(&mut connection, &networks).await?;
    }
    if !ours.is_empty() {
        rows.correspondents = correspondents::find(&mut connection, &ours, &theirs).await?;
    }
    Ok(rows)
}
