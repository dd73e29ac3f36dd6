//! The wheel of a turner: whoever holds it turns, one at a time.
//!
//! Each turner has a thread that turns it when there is mail and when a timer is due. A committer's thread that has few
//! commits to tell of turns it by itself: on an otherwise idle server each step would wait for two threads to wake up
//! otherwise, which takes longer than the engine's work. With many commits the turner's own thread does it, so that the
//! next batch is on its way to the disk meanwhile.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread::Thread,
};

use crate::turner::{Ack, Message, Turner};

/// Commits that a committer's thread goes on from by itself.
const ACKS_INLINE_MAX: usize = 4;

/// See the module's documentation.
pub(crate) struct Wheel {
    mail: mpsc::Sender<Message>,
    /// What the turner was told of its commits; gathered for one batch of the committer, so that what follows from all of
    /// it goes into the next batch together.
    acks: Mutex<Vec<Ack>>,
    turner: Mutex<Option<Turner>>,
    thread: OnceLock<Thread>,
}

impl Wheel {
    /// The wheel of a turner that is still to come, and what that receives by.
    pub(crate) fn new() -> (Wheel, mpsc::Receiver<Message>) {
        let (mail, inbox) = mpsc::channel();
        let wheel = Wheel { mail, acks: Mutex::default(), turner: Mutex::default(), thread: OnceLock::new() };
        (wheel, inbox)
    }

    /// Turns on this thread until the turner is told to stop.
    pub(crate) fn turn(&self, turner: Turner) {
        *self.turner() = Some(turner);
        // Whatever came before that is found by the first look.
        let _ = self.thread.set(std::thread::current());
        loop {
            let rest = self.turner().as_mut().and_then(Turner::round);
            match rest {
                Some(rest) => std::thread::park_timeout(rest),
                None => break,
            }
        }
        // It holds what holds this wheel.
        let gone = self.turner().take();
        drop(gone);
    }

    /// Tells the turner something. After its end nobody listens, and nothing is to be done about it.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.mail.send(message);
        self.wake();
    }

    /// Keeps what a commit came to until its whole batch has been told.
    pub(crate) fn gather(&self, ack: Ack) {
        self.acks().push(ack);
    }

    /// What was gathered.
    pub(crate) fn take_acks(&self) -> Vec<Ack> {
        std::mem::take(&mut *self.acks())
    }

    /// A whole batch has been told.
    pub(crate) fn batch_told(&self) {
        let count = self.acks().len();
        if count == 0 {
            return;
        }
        if count <= ACKS_INLINE_MAX
            && let Ok(mut turner) = self.turner.try_lock()
            && let Some(turner) = turner.as_mut()
        {
            if turner.follow_acks() {
                self.wake();
            }
            return;
        }
        self.send(Message::Acked);
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn turner(&self) -> MutexGuard<'_, Option<Turner>> {
        self.turner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acks(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
