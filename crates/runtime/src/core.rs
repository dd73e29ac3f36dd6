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
    redact::Known,
    search::ToRead,
    settings::Settings,
    slots::Slots,
    step::Catalogue,
    tasks::Tasks,
    turner::{Ack, Deliver, Message},
    wheel::Wheel,
};

/// See the module's documentation.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) catalogue: Catalogue,
    pub(crate) step_types: Arc<StepTypes>,
    pub(crate) settings: Settings,
    /// Secret values that steps have used.
    pub(crate) known: Known,
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
    pub(crate) to_read: ToRead,
    /// Something wants the recovery loop to look at the database now.
    pub(crate) look: Notify,
    /// An attempt has ended, well or not.
    pub(crate) attempt_ended: Notify,
    /// Fires when everything is to stop at once.
    pub(crate) aborted: CancellationToken,
    draining: AtomicBool,
    damaged: Mutex<HashMap<RunId, String>>,
    wheels: Vec<Wheel>,
    background: TaskTracker,
    handle: Handle,
}

impl Core {
    /// The shared part, and what each turner receives by.
    pub(crate) fn new(store: Store, catalogue: Catalogue, settings: Settings) -> (Core, Vec<mpsc::Receiver<Message>>) {
        let step_types = Arc::new(catalogue.step_types(windlass_definition::step_types::built_in()));
        let (wheels, receivers) = (0..settings.turner_count()).map(|_| Wheel::new()).unzip();
        let core = Core {
            known: catalogue.known.clone(),
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
            to_read: ToRead::default(),
            look: Notify::new(),
            attempt_ended: Notify::new(),
            aborted: CancellationToken::new(),
            draining: AtomicBool::new(false),
            damaged: Mutex::default(),
            wheels,
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
        self.wheels.len()
    }

    /// Where turners are turned.
    pub(crate) fn wheels(&self) -> &[Wheel] {
        &self.wheels
    }

    /// Tells the turner of that run.
    pub(crate) fn send(&self, run: RunId, message: Message) {
        self.wheel_of(run).send(message);
    }

    /// Tells every turner.
    pub(crate) fn send_all(&self, mut message: impl FnMut() -> Message) {
        self.wheels.iter().for_each(|wheel| wheel.send(message()));
    }

    fn wheel_of(&self, run: RunId) -> &Wheel {
        let (_, low) = run.uuid().as_u64_pair();
        &self.wheels[usize::try_from(low % self.wheels.len() as u64).unwrap_or(0)]
    }

    /// Keeps what a commit came to until its whole batch has been told.
    pub(crate) fn gather(&self, ack: Ack) {
        self.wheel_of(ack.run()).gather(ack);
    }

    /// What that turner was told of its commits.
    pub(crate) fn take_acks(&self, turner: usize) -> Vec<Ack> {
        self.wheels[turner].take_acks()
    }

    /// A whole batch has been told: its turners go on.
    pub(crate) fn batch_told(&self) {
        self.wheels.iter().for_each(Wheel::batch_told);
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
