//! The apply loop: one window on its way, the next one filling.
//!
//! ```text
//!   events ─► intake ─► filling window
//!                            │ full, or linger has passed, and nothing is under way
//!                            ▼
//!      settle(window before) + intent(this window)   one atomic write, one flush
//!                            ▼
//!                    plan, stages, batches           while the next window fills
//!                            ▼
//!                        delivered ──────────────► next settlement
//! ```
//!
//! What holds at every await, so that the process may end at any of them:
//!
//! - No request of a window leaves before the window's intent is durable.
//! - The durable LSN is confirmed only after the settlement that carries it has returned.
//! - One window is under way at a time; the next one's plan is made from the ledger after it.

mod asked;
mod between;
mod deferring;

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use self::deferring::Deferring;
use super::adapt::{Adapted, Adapter, Trigger};
use super::backfill::{Answer, Backfill};
use super::command::Command;
use super::crew::Crew;
use super::drain::Piece;
use super::flight::Due;
use super::intake::Intake;
use super::settle::{Delivered, Extent, Settled, intent, only_progress, settle};
use super::status::Status;
use crate::capture::{Event, Source};
use crate::change::Timestamp;
use crate::clock::Clock;
use crate::fault::{Error, ErrorKind, Result};
use crate::mapping::RecordId;
use crate::planning::{Bounds, Window};
use crate::sinks::BoxFuture;
use crate::store::{Progress, Recovered, ShelfQuery};

/// How often an idle position is made durable.
const IDLE: Duration = Duration::from_secs(1);
/// How often the log tells how a backfill goes.
const TELL: Duration = Duration::from_secs(10);
/// How long the window under way may take to come in when the process is asked to end.
const DRAIN: Duration = Duration::from_secs(8);

/// How the loop behaves.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a window waits for more changes while nothing is under way.
    pub linger: Duration,
    /// Most records that a window takes from the shelf.
    pub shelf_rows: usize,
    /// What a window may grow to while another one is under way, where bulk jobs are used: a backlog
    /// goes by fewer and larger ones.
    pub roomy: Option<Bounds>,
    /// The window under way goes its way in a task of its own, so that the next one fills on another
    /// core. Without it the loop is one future, which a test may stop at any await.
    pub beside: bool,
}

/// What comes back from the work under way.
enum Landed {
    /// A settlement is durable.
    Settled {
        progress: Progress,
        due: Due,
        /// More of what was deferred, if it was looked for.
        piece: Option<Piece>,
        next: Option<Window>,
    },
    /// A window has been delivered; this is what it comes to.
    Delivered(Settled),
    /// The rules have been made anew, and stored.
    Adapted(Box<Adapted>),
}

/// Work in a task of its own, which ends when nobody waits for it any more.
struct Beside<T>(JoinHandle<Result<T>>);

impl<T> Beside<T> {
    async fn landed(mut self) -> Result<T> {
        (&mut self.0).await.unwrap_or_else(|ended| {
            // As if it had happened here.
            let panic = ended.try_into_panic();
            Err(panic.map_or_else(
                |_| Error::new(ErrorKind::Machine, "the process is ending"),
                |panic| resume_unwind(panic),
            ))
        })
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What goes on beside the stream.
pub struct Aside {
    /// Existing rows.
    pub backfill: Backfill,
    /// Rules that follow both sides.
    pub adapter: Arc<Adapter>,
}

/// The loop.
pub struct Apply {
    /// Frames to windows.
    pub intake: Intake,
    /// Windows to the CRM.
    pub crew: Crew,
    /// The time.
    pub clock: Clock,
    /// How it behaves.
    pub pace: Pace,
    /// Where others read how it goes.
    pub status: Arc<Status>,
    /// Existing rows.
    pub backfill: Backfill,
    /// Rules that follow both sides.
    pub adapter: Arc<Adapter>,
    progress: Progress,
    /// The rules are being made anew.
    adapting: bool,
    window: Window,
    /// When the first change of the window arrived.
    filling_since: Option<Timestamp>,
    /// When progress was last made durable.
    settled_at: Instant,
    /// Postgres waits for an answer.
    urgent: bool,
    /// Shelf records whose turn it is.
    due: VecDeque<RecordId>,
    /// There may be more on the shelf whose turn it is than `due` could hold.
    rescan: bool,
    /// What was held for a schema may go by now.
    mended: bool,
    discards: Vec<Command>,
    deferring: Deferring,
    /// What was seen of either side's schema, to be looked at when its place in the stream has come.
    triggers: VecDeque<Trigger>,
    /// Those who asked for a backfill, until it is stored.
    askers: Vec<(oneshot::Sender<Result<usize>>, usize)>,
    /// When the page on its way, or live changes, were last told of in the log.
    told: Instant,
}

impl Apply {
    /// A loop that goes on from what the store recovered.
    pub fn new(
        intake: Intake,
        crew: Crew,
        clock: Clock,
        pace: Pace,
        status: Arc<Status>,
        aside: Aside,
        recovered: &Recovered,
    ) -> Self {
        let mut window = Window::default();
        window.shelf = recovered
            .intent
            .as_ref()
            .map(|i| i.shelf.clone())
            .unwrap_or_default();
        window.again = recovered.intent.is_some();
        Apply {
            intake,
            crew,
            clock,
            pace,
            status,
            backfill: aside.backfill,
            adapter: aside.adapter,
            progress: recovered.progress,
            adapting: false,
            window,
            filling_since: None,
            settled_at: Instant::now(),
            urgent: false,
            due: VecDeque::new(),
            rescan: false,
            mended: false,
            discards: Vec::new(),
            deferring: Deferring::default(),
            triggers: VecDeque::new(),
            askers: Vec::new(),
            told: Instant::now(),
        }
    }

    /// Runs until `stop` turns true or something final happens. On return nothing is under way, and
    /// all that was delivered in time is settled and confirmed.
    pub async fn run<S: Source>(
        mut self,
        source: &mut S,
        commands: &mut mpsc::Receiver<Command>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let ended = tokio::select! {
            pages = self.crew.end_old_jobs() => Some(pages?),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        // They go on by themselves, and are looked at again at the next start.
        let Some(pages) = ended else { return Ok(()) };
        for page in pages {
            self.backfill.resume(&page);
        }
        self.receive(self.crew.due(true).await?);
        let urgent = self.crew.urgent().await?;
        self.deferring.begin(urgent);
        let mut flight: Option<BoxFuture<'static, Result<Landed>>> = None;
        let mut reading: Option<BoxFuture<'static, Result<Answer>>> = None;
        self.follow();
        loop {
            if !self.adapting {
                let roomy = self.pace.roomy.filter(|_| flight.is_some());
                self.intake.fill(&mut self.window, roomy)?;
                // Stored with the settlement of this window at the latest.
                for table in std::mem::take(&mut self.intake.moved) {
                    self.backfill.moved(&table, self.clock.now());
                }
            }
            if !self.window.is_quiet() {
                self.filling_since.get_or_insert_with(|| self.clock.now());
            }
            if *stop.borrow() {
                return self.drain(source, flight).await;
            }
            self.look_at_gate();
            if flight.is_none() {
                flight = self.launch(None).map(|work| self.begin(work));
            }
            if reading.is_none() {
                let calm = self.is_calm();
                let mapping = Arc::clone(self.adapter.mapping());
                let delivery = &self.crew.delivery;
                let step = self
                    .backfill
                    .next(&mut self.intake, &mapping, calm, delivery);
                reading = step.map(|step| self.begin(step));
            }
            let wake = self.wake(flight.is_some(), reading.is_some());
            let later = self.later(flight.is_some());
            let clock = self.clock.clone();
            let hungry = self.intake.is_hungry();
            tokio::select! {
                biased;
                // A wish to end comes first: the process is killed when it does not listen.
                _ = stop.changed() => {}
                // What is under way goes before what waits: it frees the CRM and the WAL.
                landed = async { match flight.as_mut() {
                    Some(flight) => flight.await,
                    None => std::future::pending().await,
                } } => {
                    flight = self.land(landed?, source).map(|work| self.begin(work));
                }
                Some(command) = commands.recv() => self.command(command),
                answer = async { match reading.as_mut() {
                    Some(reading) => reading.await,
                    None => std::future::pending().await,
                } } => {
                    let step = self.backfill.answer(answer?, &mut self.intake);
                    reading = step.map(|step| self.begin(step));
                    self.tell();
                }
                event = source.next(), if hungry => self.take(event?),
                () = async { match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
                () = async { match later {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Frames(frames) => self.intake.feed(frames),
            Event::Idle { lsn, urgent } => {
                // Everything before it has been handed over; it becomes durable behind that.
                self.window.commit(lsn);
                self.urgent |= urgent;
            }
            Event::Restarted => self.intake.restarted(),
        }
    }

    fn receive(&mut self, due: Due) {
        self.due.extend(due.records);
        self.rescan |= due.more;
        self.read_again(due.reread);
    }

    /// When the loop has to look again although nothing came in.
    fn wake(&self, flying: bool, reading: bool) -> Option<Instant> {
        let page = match reading {
            true => None,
            false => self.backfill.wake(),
        };
        if flying || self.intake.is_replaying() {
            return page;
        }
        let idles = self.window.is_quiet() && !self.window.is_empty();
        let idle = idles.then(|| self.settled_at + IDLE);
        [idle, page].into_iter().flatten().min()
    }

    /// The window has to go, or may.
    fn is_ready(&self) -> bool {
        if self.intake.is_full() || self.window.page.is_some() {
            return true;
        }
        if !self.intake.is_replaying() && self.intake.would_be_full(&self.window) {
            return true;
        }
        if self.intake.is_replaying() {
            return false;
        }
        if self.has_lingered() || self.takes_from_shelf() {
            return true;
        }
        let idle = Instant::now() >= self.settled_at + IDLE;
        self.window.is_quiet() && !self.window.is_empty() && (self.urgent || idle)
    }

    /// Starts what can be started: settles what came in, together with the intent of the window that
    /// goes next.
    fn launch(&mut self, came_in: Option<Settled>) -> Option<BoxFuture<'static, Result<Landed>>> {
        if self.triggers.iter().any(|t| self.is_due(t)) {
            // The window has to go first; then it is its turn.
            self.intake.stop();
        }
        let ready = self.is_ready();
        if came_in.is_none() {
            // It settles without an intent: not before the window that may have been sent before the
            // process ended has been sent again.
            if !self.intake.is_again()
                && let Some(discard) = self.discards.pop()
            {
                return Some(self.run_discard(discard));
            }
            if let Some(alone) = self.between() {
                return Some(alone);
            }
            let unsaved = self.backfill.has_unsaved() || !self.askers.is_empty();
            if unsaved && !ready && !self.intake.is_again() {
                let mut settlement = only_progress(self.progress);
                settlement.loads = self.backfill.unsaved();
                let settled = Settled {
                    settlement,
                    ..Settled::default()
                };
                return Some(self.run_settlement(settled, None));
            }
            if !ready {
                if self.rescan && self.due.is_empty() {
                    return Some(self.run_rescan());
                }
                return self.run_round();
            }
        }
        let mut settled = came_in.unwrap_or_else(|| Settled {
            settlement: only_progress(self.progress),
            ..Settled::default()
        });
        self.account(&mut settled);
        let next = ready.then(|| self.rotate());
        if let Some(window) = &next {
            if window.is_quiet() {
                self.settle_quiet(window, &mut settled);
            } else {
                settled.settlement.intent = Some(intent(window, settled.settlement.progress));
            }
        }
        self.settled_at = Instant::now();
        self.urgent = false;
        Some(self.run_settlement(settled, next.filter(|window| !window.is_quiet())))
    }

    /// A window of which nothing has to be sent is settled together with the one before.
    fn settle_quiet(&mut self, window: &Window, settled: &mut Settled) {
        let settlement = &mut settled.settlement;
        let extent = Extent {
            until: window.until,
            checkpoint: window.checkpoint,
            verdicts: window.verdicts.clone(),
            page: window.page.clone(),
        };
        let quiet = Delivered {
            extent,
            ..Delivered::default()
        };
        let quiet = settle(
            quiet,
            settlement.progress,
            &self.crew.objects,
            self.clock.now(),
        );
        for (key, count) in quiet.settlement.verdicts {
            *settlement.verdicts.entry(key).or_default() += count;
        }
        settlement.progress = quiet.settlement.progress;
        settled.page = quiet.page;
        self.account(settled);
    }

    /// Takes the window out and begins the next one.
    fn rotate(&mut self) -> Window {
        let mut window = std::mem::take(&mut self.window);
        // A window that is sent again has nothing more in it than the first time.
        window.again |= self.intake.is_again();
        self.deferring.next = self.deferral();
        self.take_from_shelf(&mut window);
        window.shelf.sort();
        window.shelf.dedup();
        self.status.window(&window, self.intake.oldest);
        if let Some(page) = &window.page {
            self.backfill.launched(page);
        }
        self.filling_since = None;
        self.intake.begin(&mut self.window);
        if !self.window.is_quiet() {
            self.filling_since = Some(self.clock.now());
        }
        window
    }

    fn run_settlement(
        &mut self,
        settled: Settled,
        next: Option<Window>,
    ) -> BoxFuture<'static, Result<Landed>> {
        // Whoever asked for something that it stores hears of it when it is stored.
        let askers = std::mem::take(&mut self.askers);
        let crew = self.crew.clone();
        let status = Arc::clone(&self.status);
        let round = self.next_piece();
        Box::pin(async move {
            let Settled {
                mut settlement,
                released,
                kept_fields,
                ..
            } = settled;
            settlement.spent = crew.delivery.budget().unsaved();
            let progress = settlement.progress;
            status.kept_fields(kept_fields);
            let touched = !settlement.shelved.is_empty() || !settlement.unshelved.is_empty();
            status.settled(&settlement);
            crew.store.settle(settlement).await?;
            for (asker, count) in askers {
                // The asker may have gone; the work is done all the same.
                let _ = asker.send(Ok(count));
            }
            if touched {
                let any = ShelfQuery {
                    limit: 1,
                    ..ShelfQuery::default()
                };
                let in_use = !crew.store.shelf(any).await?.is_empty();
                status.shelf(crew.store.shelf_counts().await?, in_use);
            }
            let due = match status.shelf_in_use() {
                true => crew.released_by(&released).await?,
                false => Due::default(),
            };
            let piece = match round {
                Some(round) => Some(crew.deferred(round).await?),
                None => None,
            };
            Ok(Landed::Settled {
                progress,
                due,
                piece,
                next,
            })
        })
    }

    fn begin<T: Send + 'static>(
        &self,
        work: BoxFuture<'static, Result<T>>,
    ) -> BoxFuture<'static, Result<T>> {
        match self.pace.beside {
            true => Box::pin(Beside(tokio::spawn(work)).landed()),
            false => work,
        }
    }

    /// What follows from work that has come in.
    fn land<S: Source>(
        &mut self,
        landed: Landed,
        source: &mut S,
    ) -> Option<BoxFuture<'static, Result<Landed>>> {
        // There is one flight at a time: if it was new rules, they are here.
        self.adapting = false;
        match landed {
            Landed::Settled {
                progress,
                due,
                piece,
                next,
            } => {
                self.confirm(progress, source);
                self.released(&due);
                self.receive(due);
                self.drained(piece);
                let window = next?;
                let deferral = std::mem::take(&mut self.deferring.next);
                let crew = self.crew.clone();
                let shelf_in_use = self.status.shelf_in_use();
                // Nothing else is under way: it stays what it is until this comes in.
                let progress = self.progress;
                let clock = self.clock.clone();
                Some(Box::pin(async move {
                    let delivered = crew.fly(window, progress, shelf_in_use, deferral).await?;
                    let settled = settle(delivered, progress, &crew.objects, clock.now());
                    Ok(Landed::Delivered(settled))
                }))
            }
            Landed::Delivered(settled) => self.launch(Some(settled)),
            Landed::Adapted(adapted) => Some(self.adopt(*adapted)),
        }
    }

    fn confirm<S: Source>(&mut self, progress: Progress, source: &mut S) {
        if progress.checkpoint > self.progress.checkpoint {
            source.confirm(progress.checkpoint);
            self.deferring.committed();
        }
        self.progress = progress;
    }

    /// Lets the window under way come in, settles it, and starts nothing new.
    async fn drain<S: Source>(
        mut self,
        source: &mut S,
        flight: Option<BoxFuture<'static, Result<Landed>>>,
    ) -> Result<()> {
        let Some(flight) = flight else { return Ok(()) };
        let deadline = Instant::now() + DRAIN;
        // A bulk job goes on without us, and its id is stored.
        let in_job = self.crew.delivery.jobs().under_way().is_some();
        let patience = if in_job { Duration::ZERO } else { DRAIN };
        let Ok(landed) = timeout(patience, flight).await else {
            if in_job {
                tracing::info!("a bulk job is left at work: the next start waits for it first");
                return Ok(());
            }
            tracing::warn!(
                "the CRM did not answer in time: the window is sent again at the next start"
            );
            return Ok(());
        };
        match landed? {
            Landed::Settled { progress, .. } => self.confirm(progress, source),
            // The stream says it again.
            Landed::Adapted(_) => {}
            Landed::Delivered(mut settled) => {
                self.account(&mut settled);
                let last = self.run_settlement(settled, None);
                match tokio::time::timeout_at(deadline + DRAIN / 4, last).await {
                    Ok(Ok(Landed::Settled { progress, .. })) => self.confirm(progress, source),
                    Ok(Ok(_)) | Err(_) => {}
                    Ok(Err(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
