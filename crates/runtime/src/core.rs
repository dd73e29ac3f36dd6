//! What everything in a runtime shares: the store, the settings, and the ways to reach each turner.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
};

use tokio::{runtime::Handle, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use windlass_definition::{Timestamp, step_type::StepTypes};
use windlass_engine::id::RunId;
use windlass_store::{LaneId, Store};

use crate::{
    backlog::Backlog,
    dispatch::Places,
    foreign::Foreign,
    inbox::InHand,
    live::Watchers,
    metrics::Metrics,
    newest::Newest,
    plans::Plans,
    settings::Settings,
    slots::Slots,
    step::Catalogue,
    tasks::Tasks,
    turner::{Ack, Acks, Deliver, Message},
};

/// See the module's documentation.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) catalogue: Catalogue,
    pub(crate) step_types: Arc<StepTypes>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) watchers: Watchers,
    pub(crate) plans: Plans,
    pub(crate) newest: Newest,
    pub(crate) places: Places,
    pub(crate) tasks: Tasks,
    pub(crate) slots: Slots,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) foreign: Foreign,
    pub(crate) letters: InHand,
    /// Something wants the recovery loop to look at the database now.
    pub(crate) look: Notify,
    /// An attempt has ended, well or not.
    pub(crate) attempt_ended: Notify,
    /// Fires when everything is to stop at once.
    pub(crate) aborted: CancellationToken,
    draining: AtomicBool,
    damaged: Mutex<HashMap<RunId, String>>,
    turners: Vec<mpsc::Sender<Message>>,
    acks: Vec<Acks>,
    background: TaskTracker,
    handle: Handle,
}

impl Core {
    /// The shared part, and what each turner receives by.
    pub(crate) fn new(store: Store, catalogue: Catalogue, settings: Settings) -> (Core, Vec<mpsc::Receiver<Message>>) {
        let step_types = Arc::new(catalogue.step_types(windlass_definition::step_types::built_in()));
        let (senders, receivers) = (0..settings.turner_count()).map(|_| mpsc::channel()).unzip();
        let acks = (0..settings.turner_count()).map(|_| Acks::default()).collect();
        let core = Core {
            metrics: Metrics::default(),
            watchers: Watchers::new(settings.live_events),
            plans: Plans::new(Arc::clone(&step_types)),
            newest: Newest::default(),
            places: Places::new(&settings),
            tasks: Tasks::default(),
            slots: Slots::default(),
            backlog: Arc::default(),
            foreign: Foreign::default(),
            letters: InHand::default(),
            look: Notify::new(),
            attempt_ended: Notify::new(),
            aborted: CancellationToken::new(),
            draining: AtomicBool::new(false),
            damaged: Mutex::default(),
            turners: senders,
            acks,
            background: TaskTracker::new(),
            handle: Handle::current(),
            store,
            catalogue,
            step_types,
            settings,
        };
        (core, receivers)
    }

    /// The database's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// How many turners there are.
    pub(crate) fn turners(&self) -> usize {
        self.turners.len()
    }

    /// Tells the turner of that run. After the end nobody listens, and nothing is to be done about it.
    pub(crate) fn send(&self, run: RunId, message: Message) {
        let _ = self.turners[self.index(run)].send(message);
    }

    fn index(&self, run: RunId) -> usize {
        let (_, low) = run.uuid().as_u64_pair();
        usize::try_from(low % self.turners.len() as u64).unwrap_or(0)
    }

    /// What that turner was told of its commits.
    pub(crate) fn acks(&self, turner: usize) -> &Acks {
        &self.acks[turner]
    }

    /// Keeps what a commit came to until its whole batch has been told.
    pub(crate) fn gather(&self, ack: Ack) {
        let turner = self.index(ack.run());
        self.acks[turner].lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }

    /// A whole batch has been told: its turners go on.
    pub(crate) fn batch_told(&self) {
        for (acks, turner) in self.acks.iter().zip(&self.turners) {
            if !acks.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                let _ = turner.send(Message::Acked);
            }
        }
    }

    /// The ways to every turner.
    pub(crate) fn turner_senders(&self) -> impl Iterator<Item = &mpsc::Sender<Message>> {
        self.turners.iter()
    }

    /// Tells every turner.
    pub(crate) fn send_all(&self, mut message: impl FnMut() -> Message) {
        for turner in &self.turners {
            let _ = turner.send(message());
        }
    }

    /// Tells a run that something happened.
    pub(crate) fn deliver(&self, deliver: Deliver) {
        self.send(deliver.run, Message::Deliver(Box::new(deliver)));
    }

    /// Runs something in the background until it ends or everything stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let aborted = self.aborted.clone();
        self.background.spawn_on(
            async move {
                tokio::select! {
                    biased;
                    () = aborted.cancelled() => {}
                    () = work => {}
                }
            },
            &self.handle,
        );
    }

    /// Waits until nothing runs in the background.
    pub(crate) async fn background_ended(&self) {
        self.background.close();
        self.background.wait().await;
    }

    /// Takes no new runs from here on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, SeqCst);
        self.tasks.end_waiting();
    }

    /// Whether no new runs are taken.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// A run that cannot go on is left standing, and says so; nothing else waits for it.
    pub(crate) fn quarantine(&self, run: RunId, detail: String) {
        tracing::error!(%run, detail, "the run stands still");
        crate::metrics::add(&self.metrics.runs_damaged, 1);
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(run, detail);
    }

    /// Why a run stands still.
    pub(crate) fn damage(&self, run: RunId) -> Option<String> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).get(&run).cloned()
    }

    /// Another node owns that lane now.
    pub(crate) fn lane_lost(&self, lane: LaneId) {
        self.send_all(|| Message::Lost(vec![lane]));
        self.look.notify_one();
    }
}
