//! The application's schema changes in the middle of the day: a column more, and one with another name.
//! Nobody touches the connector or its configuration.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use syncline::fault::{Finding, Result};
use syncline::web::report::JobReport;

use super::app::{App, Table};
use super::compare::MADE;
use super::crm::Crm;
use super::machine::failed;
use super::play::Play;
use super::screen::{Screen, count, span};
use super::sidecar::{PATIENCE, Sidecar};

const ADDED: &str = "ALTER TABLE customer ADD COLUMN tier varchar(20) NOT NULL DEFAULT 'bronze'";
/// What the new column holds, with the customer's key.
const TIERS: &str = "SELECT id::text, tier FROM customer";

/// What was seen of it.
#[derive(Default)]
pub(super) struct Evolution {
    /// When the new column was committed.
    committed: Option<Instant>,
    /// Fields of which the CRM says that the connector's user may fill them.
    made: Vec<String>,
    /// Rows read for the new column.
    pub(super) read: i64,
    /// Records whose value was not the same when the rename was over.
    lost: i64,
    /// Records compared before and after the rename.
    kept: i64,
    /// Schema changes by kind: in the connector's life, and in those before.
    now: BTreeMap<String, u64>,
    before: BTreeMap<String, u64>,
}

impl Evolution {
    fn seen(&self, kind: &str) -> u64 {
        [&self.now, &self.before]
            .iter()
            .filter_map(|counts| counts.get(kind))
            .sum()
    }

    /// Both changes were recognised, the field was made and filled, and nothing was lost.
    pub(super) fn is_good(&self) -> bool {
        self.seen("column_added") > 0
            && self.seen("column_renamed") > 0
            && self.made.len() == 1
            && self.read > 0
            && self.lost == 0
            && self.kept > 0
    }

    /// For the summary.
    pub(super) fn fields(&self) -> String {
        format!(
            "{}: {}; {} rows read to fill it",
            self.made.len(),
            self.made.join(", "),
            count(self.read)
        )
    }

    /// For the summary.
    pub(super) fn changes(&self) -> String {
        let kinds = self.now.keys().chain(self.before.keys());
        let kinds: std::collections::BTreeSet<&String> = kinds.collect();
        let parts: Vec<String> = kinds
            .iter()
            .map(|kind| format!("{kind} {}", self.seen(kind)))
            .collect();
        format!(
            "{}; {} values lost by the rename, of {}",
            parts.join(" · "),
            count(self.lost),
            count(self.kept)
        )
    }

    /// A column more; the same transaction fills it for some.
    pub(super) async fn add(
        &mut self,
        screen: &Screen,
        bar: &ProgressBar,
        app: &mut App,
        play: &mut Play,
    ) -> Result<()> {
        app.begin().await?;
        app.alter(ADDED).await?;
        let gold = app
            .write(
                Table::Customer,
                "UPDATE customer SET tier = 'gold', lock_version = lock_version + 1 \
                 WHERE lifetime_value > 235000",
            )
            .await?;
        app.commit().await?;
        self.committed = Some(Instant::now());
        play.tiers = true;
        bar.suspend(|| {
            screen.blow(ADDED);
            screen.note(format!(
                "in the same transaction {} customers get another tier; nobody edits the configuration",
                count(gold)
            ));
        });
        Ok(())
    }

    /// Looks what the connector counted, and whether the CRM has the field.
    pub(super) async fn look(
        &mut self,
        screen: &Screen,
        bar: &ProgressBar,
        crm: &Crm,
        sidecar: &mut Sidecar,
    ) -> Result<()> {
        let Some(committed) = self.committed else {
            return Ok(());
        };
        if let Some(report) = sidecar.report().await? {
            self.now = report.schema_changes;
        }
        if self.made.is_empty()
            && let Some(words) = crm.usable("Contact", MADE).await?
        {
            self.made.push(format!("Contact.{MADE}"));
            bar.suspend(|| {
                screen.done(format!(
                    "Contact.{MADE} is in the CRM: {words}; made by the connector, which may read and edit it ({} after the commit)",
                    span(committed.elapsed())
                ));
            });
        }
        Ok(())
    }

    /// The connector ends, and what it counted with it.
    pub(super) fn forget(&mut self) {
        for (kind, n) in std::mem::take(&mut self.now) {
            *self.before.entry(kind).or_default() += n;
        }
    }

    /// A column gets another name; the CRM is read before and after.
    pub(super) async fn rename(
        &mut self,
        screen: &Screen,
        bar: &ProgressBar,
        app: &mut App,
        crm: &Crm,
        sidecar: &mut Sidecar,
    ) -> Result<()> {
        sidecar.caught_up(app).await?;
        let before = closing(crm).await?;
        app.begin().await?;
        app.rename(Table::Deal, "closes_on", "close_date").await?;
        let moved = app
            .write(
                Table::Deal,
                "UPDATE deal SET close_date = close_date + 14, lock_version = lock_version + 1 \
                 WHERE number = 3",
            )
            .await?;
        app.commit().await?;
        sidecar.caught_up(app).await?;
        let after = closing(crm).await?;
        let truth = app
            .read("SELECT company_id || '/' || number, close_date::text FROM deal")
            .await?;
        let truth: BTreeMap<String, String> = truth
            .into_iter()
            .filter_map(|row| match <[_; 2]>::try_from(row) {
                Ok([Some(key), Some(date)]) => Some((key, date)),
                _ => None,
            })
            .collect();
        let same = |key: &String| before.get(key) == after.get(key);
        let stayed = before.keys().filter(|key| same(key)).count();
        let wrong = truth
            .iter()
            .filter(|(key, date)| after.get(*key) != Some(date));
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        // What is not the same as before has to be what the transaction changed.
        let odd = number(before.len() - stayed) - moved;
        self.lost =
            number(wrong.count()) + odd.abs() + (number(after.len()) - number(before.len())).abs();
        self.kept = number(before.len());
        let finding = finding(sidecar).await?;
        bar.suspend(|| {
            screen.blow("ALTER TABLE deal RENAME COLUMN closes_on TO close_date");
            let words = format!(
                "Opportunity.CloseDate before and after: {} the same, {} moved by that transaction, {} lost",
                count(number(stayed)),
                count(moved),
                count(self.lost)
            );
            match self.lost {
                0 => screen.done(words),
                _ => screen.bad(words),
            }
            if let Some(finding) = finding {
                screen.note(format!("syncline status says: {}: {}", finding.place, finding.what));
            }
        });
        Ok(())
    }

    /// Waits until the new field has been filled for the rows that were there, and compares it.
    pub(super) async fn filled(
        &mut self,
        screen: &Screen,
        bar: &ProgressBar,
        app: &App,
        crm: &Crm,
        sidecar: &mut Sidecar,
    ) -> Result<()> {
        let began = Instant::now();
        let tier = |job: &JobReport| job.column.as_deref() == Some("tier");
        let job = loop {
            self.look(screen, bar, crm, sidecar).await?;
            if let Some(report) = sidecar.report().await? {
                let mut tables = report.backfills.into_iter();
                // Rows that changed their keys while it read may be read once more, after it.
                if let Some(customers) = tables.find(|b| b.table == "public.customer")
                    && customers.jobs().next().is_none()
                    && let Some(job) = customers.ended.into_iter().find(tier)
                {
                    break job;
                }
            }
            if began.elapsed() > PATIENCE {
                let waited = PATIENCE.as_secs();
                return Err(failed(format!(
                    "waited {waited} s for the column's backfill"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.read = number(job.rows.read);
        let mut records = BTreeMap::new();
        for record in crm
            .query(&format!("SELECT Customer_Id__c, {MADE} FROM Contact"))
            .await?
        {
            let text = |name: &str| record[name].as_str().map(str::to_owned);
            records.insert(text("Customer_Id__c"), text(MADE));
        }
        let rows = app.read(TIERS).await?;
        let mut by_tier: BTreeMap<String, i64> = BTreeMap::new();
        let mut wrong = 0;
        for row in rows {
            match <[_; 2]>::try_from(row) {
                Ok([key, tier]) if records.get(&key) == Some(&tier) => {
                    *by_tier.entry(tier.unwrap_or_default()).or_default() += 1;
                }
                _ => wrong += 1,
            }
        }
        let parts: Vec<String> = by_tier
            .iter()
            .map(|(tier, n)| format!("{} {tier}", count(*n)))
            .collect();
        bar.suspend(|| {
            screen.done(format!(
                "old rows filled by backfill: {} read, {} written; {MADE} is {}, {wrong} differ from Postgres",
                count(self.read),
                count(number(job.rows.written)),
                parts.join(", ")
            ));
        });
        if wrong > 0 {
            return Err(failed(format!(
                "{wrong} values of {MADE} are not the column's"
            )));
        }
        Ok(())
    }
}

/// The field that the renamed column fills, by the record's key.
async fn closing(crm: &Crm) -> Result<BTreeMap<String, String>> {
    let records = crm
        .query("SELECT Deal_Id__c, CloseDate FROM Opportunity")
        .await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(records
        .iter()
        .map(|r| (text(&r["Deal_Id__c"]), text(&r["CloseDate"])))
        .collect())
}

/// What the connector has to say of the rename.
async fn finding(sidecar: &mut Sidecar) -> Result<Option<Finding>> {
    let report = sidecar.report().await?;
    let findings = report.into_iter().flat_map(|r| r.findings);
    Ok(findings.into_iter().find(|f| f.place.contains("closes_on")))
}
