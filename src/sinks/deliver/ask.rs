//! What is asked of a CRM beside writing: descriptions, fields, records, the recycle bin.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Delivery, miscounted};
use crate::clock::Lead;
use crate::fault::{Class, Fault};
use crate::mapping::{FieldSpec, ObjectDescription, Target};
use crate::planning::CrmId;
use crate::sinks::{CrmRecord, HistoryQuery, HistoryRow, Named, Outcome};

impl Delivery {
    /// The named objects as our user sees them; see [`Sink::describe`](crate::sinks::Sink::describe).
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn describe(
        &self,
        objects: &[String],
    ) -> Result<Vec<Option<ObjectDescription>>, Fault> {
        self.persist(|| self.sink.describe(objects)).await
    }

    /// Makes fields that the CRM lacks; see [`Sink::create_fields`](crate::sinks::Sink::create_fields). The faults inside are of class
    /// [`Class::Configuration`] and concern their fields alone.
    ///
    /// # Errors
    /// [`Class::Authentication`], and faults of the sink that repeating does not heal.
    pub async fn create_fields(
        &self,
        object: &str,
        specs: &[FieldSpec],
    ) -> Result<Vec<Result<(), Fault>>, Fault> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        match self
            .persist(|| self.sink.create_fields(object, specs))
            .await
        {
            Ok(answers) if answers.len() == specs.len() => Ok(answers),
            Ok(_) => Err(miscounted()),
            // It was tried often enough: no reason to stop anything but the fields.
            Err(mut fault) if matches!(fault.class, Class::RecordTransient | Class::Locked) => {
                fault.class = Class::Configuration;
                Ok(vec![Err(fault); specs.len()])
            }
            Err(fault) => Err(fault),
        }
    }

    /// Describes `object` until our user sees all of these fields and may write them: at once, then
    /// after half a second, one, two, four, and every eight. `None` if they do not show within
    /// `patience`.
    ///
    /// # Errors
    /// As [`Delivery::describe`].
    pub async fn wait_for_fields(
        &self,
        object: &str,
        names: &[&str],
        patience: Duration,
    ) -> Result<Option<ObjectDescription>, Fault> {
        let objects = [object.to_owned()];
        let poll = async {
            let mut pause = Duration::from_millis(500);
            loop {
                let described = self.describe(&objects).await?.pop().flatten();
                let writable = |object: &ObjectDescription| {
                    names.iter().all(|name| {
                        let field = object.field(name);
                        field.is_some_and(|f| f.createable && f.updateable)
                    })
                };
                if let Some(object) = described.filter(writable) {
                    return Ok(object);
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(8));
            }
        };
        match timeout(patience, poll).await {
            Ok(seen) => seen.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// These records; see [`Sink::read`](crate::sinks::Sink::read). Asks for fewer at a time where the CRM
    /// wants that.
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn read(
        &self,
        target: &Target,
        named: Named<'_>,
        fields: &[u16],
    ) -> Result<Vec<Option<CrmRecord>>, Fault> {
        let mut records = Vec::with_capacity(named.len());
        let mut parts = vec![named];
        while let Some(part) = parts.pop() {
            match self.persist(|| self.sink.read(target, part, fields)).await {
                Ok(found) if found.len() == part.len() => records.extend(found),
                Ok(_) => return Err(miscounted()),
                Err(fault) if fault.class == Class::Split && part.len() > 1 => {
                    let (front, back) = part.split_at(part.len() / 2);
                    parts.push(back);
                    parts.push(front);
                }
                Err(mut fault) => {
                    if fault.class == Class::Split {
                        fault.class = Class::Record;
                    }
                    return Err(fault);
                }
            }
        }
        Ok(records)
    }

    /// Records that have no external id; see [`Sink::unkeyed`](crate::sinks::Sink::unkeyed).
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn unkeyed(
        &self,
        target: &Target,
        slot: u16,
        texts: &[String],
    ) -> Result<Vec<(String, CrmId)>, Fault> {
        self.persist(|| self.sink.unkeyed(target, slot, texts))
            .await
    }

    /// Who changed fields, and when; see [`Sink::history`](crate::sinks::Sink::history).
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn history(
        &self,
        target: &Target,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryRow>, Fault> {
        self.persist(|| self.sink.history(target, query)).await
    }

    /// How far the CRM's clock is ahead of ours.
    pub fn lead(&self) -> Option<Lead> {
        self.sink.lead()
    }

    /// Takes records out of the recycle bin; see [`Sink::undelete`](crate::sinks::Sink::undelete).
    ///
    /// # Errors
    /// Any fault that repeating does not heal.
    pub async fn undelete(&self, ids: &[CrmId]) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(ids.len());
        for part in ids.chunks(self.limits().records.max(1)) {
            let mut tries = 0_u32;
            loop {
                let answers = self.persist(|| self.sink.undelete(part)).await?;
                if answers.len() != part.len() {
                    return Err(miscounted());
                }
                tries += 1;
                let passing = |o: &Outcome| matches!(o, Outcome::Refused(f) if f.class == Class::RecordTransient);
                // Those that are back already are not in the bin any more: the caller finds them.
                if tries >= self.tries.record || !answers.iter().any(passing) {
                    outcomes.extend(answers);
                    break;
                }
                sleep(self.delay(tries)).await;
            }
        }
        Ok(outcomes)
    }

    /// Attempts until there is an answer, or a fault that repeating does not heal.
    pub(in crate::sinks) async fn persist<T, F>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut failures = 0_u32;
        let mut transient = 0_u32;
        loop {
            let fault = match self.attempt(&mut call).await.0 {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            match fault.class {
                Class::Service | Class::Unknown => {}
                Class::RecordTransient | Class::Locked if transient + 1 < self.tries.record => {
                    transient += 1
                }
                _ => return Err(fault),
            }
            failures = failures.saturating_add(1);
            self.retries.fetch_add(1, Ordering::Relaxed);
            let at_least = fault.retry_after.unwrap_or_default();
            sleep(self.delay(failures).max(at_least)).await;
        }
    }
}
