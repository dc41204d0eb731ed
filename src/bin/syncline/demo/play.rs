//! The working day of an application, in fast motion: small transactions, one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use syncline::fault::Result;

use super::app::{App, Table, literal};
use super::compare;
use super::data::{self, COMPANY, CUSTOMER, Cell, DEAL, Dice};

/// Time between two transactions.
const PACE: Duration = Duration::from_millis(15);

/// Something that happens in the application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Event {
    Signup,
    Progress,
    Logins,
    HotDeal,
    Note,
    Figures,
    Nothing,
    Changed,
    Renamed,
    Merged,
    Moved,
    Left,
    Lost,
    Closed,
    Back,
}

impl Event {
    /// What happens, and how often.
    const DAY: [(Event, usize); 15] = [
        (Event::Signup, 24),
        (Event::Progress, 60),
        (Event::Logins, 16),
        (Event::HotDeal, 4),
        (Event::Note, 14),
        (Event::Figures, 14),
        (Event::Nothing, 8),
        (Event::Changed, 4),
        (Event::Renamed, 8),
        (Event::Merged, 10),
        (Event::Moved, 10),
        (Event::Left, 14),
        (Event::Lost, 10),
        (Event::Closed, 6),
        (Event::Back, 5),
    ];

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Event::Signup => "companies sign up, with people and deals (one transaction)",
            Event::Progress => "deals move on",
            Event::Logins => "nightly jobs touch 25 customers at once",
            Event::HotDeal => "a deal is changed 15 times in a row",
            Event::Note => "notes are written, rewritten or cleared",
            Event::Figures => "rows change, but not their long notes",
            Event::Nothing => "rows are saved without a change",
            Event::Changed => "transactions are rolled back",
            Event::Renamed => "companies get another key, and all that refers to them",
            Event::Merged => "customers get another key",
            Event::Moved => "deals go to another company (their key changes)",
            Event::Left => "customers are deleted",
            Event::Lost => "deals are deleted",
            Event::Closed => "companies are deleted, with people and deals",
            Event::Back => "customers are deleted and come back",
        }
    }

    /// The day, shuffled, the same at every run.
    pub(super) fn day() -> Vec<Event> {
        let mut events: Vec<Event> = Event::DAY
            .iter()
            .flat_map(|(event, times)| std::iter::repeat_n(*event, *times))
            .collect();
        let mut dice = Dice::new(7);
        for at in (1..events.len()).rev() {
            events.swap(at, dice.below(at + 1));
        }
        events
    }

    /// How often each happens, in the order of the list.
    pub(super) fn program() -> impl Iterator<Item = (Event, usize)> {
        Event::DAY.into_iter()
    }
}

/// The day.
pub(super) struct Play {
    dice: Dice,
    companies: usize,
    /// Customers have a tier by now.
    pub(super) tiers: bool,
    /// Companies that have no row any more, with their last values.
    pub(super) archived: BTreeMap<String, Vec<Cell>>,
}

impl Play {
    pub(super) fn new() -> Play {
        Play {
            dice: Dice::new(11),
            companies: data::COMPANIES,
            tiers: false,
            archived: BTreeMap::new(),
        }
    }

    /// Lets it happen.
    pub(super) async fn happen(&mut self, app: &mut App, event: Event) -> Result<()> {
        match event {
            Event::Signup => self.signup(app).await?,
            Event::Progress => self.progress(app).await?,
            Event::Logins => self.logins(app).await?,
            Event::HotDeal => self.hot_deal(app).await?,
            Event::Note => self.note(app).await?,
            Event::Figures => self.figures(app).await?,
            Event::Nothing => self.nothing(app).await?,
            Event::Changed => self.changed(app).await?,
            Event::Renamed => self.renamed(app).await?,
            Event::Merged => self.merged(app).await?,
            Event::Moved => self.moved(app).await?,
            Event::Left => self.left(app).await?,
            Event::Lost => self.lost(app).await?,
            Event::Closed => self.closed(app).await?,
            Event::Back => self.back(app).await?,
        }
        tokio::time::sleep(PACE).await;
        Ok(())
    }

    /// Keys of rows for which `condition` holds, by chance. The key as it is compared in SQL.
    async fn some(
        &mut self,
        app: &App,
        table: Table,
        condition: &str,
        limit: usize,
    ) -> Result<Vec<String>> {
        let key = table.key();
        let salt = self.dice.roll();
        let keys = app
            .pick(&format!(
                "SELECT {key} FROM {} WHERE {condition} ORDER BY md5(({key}) || '{salt}') LIMIT {limit}",
                table.name()
            ))
            .await?;
        Ok(keys)
    }

    /// A condition that holds for some rows by chance.
    async fn these(
        &mut self,
        app: &App,
        table: Table,
        condition: &str,
        limit: usize,
    ) -> Result<String> {
        let keys = self.some(app, table, condition, limit).await?;
        let keys: Vec<String> = keys.iter().map(|k| literal(Some(k))).collect();
        let keys = if keys.is_empty() {
            "NULL".to_owned()
        } else {
            keys.join(", ")
        };
        Ok(format!("({}) IN ({keys})", table.key()))
    }

    /// A company with two people and two deals.
    async fn signup(&mut self, app: &mut App) -> Result<()> {
        let number = self.companies;
        self.companies += 1;
        let id = data::company_id(number);
        let parent = self
            .some(app, Table::Company, "parent_id IS NULL", 1)
            .await?;
        let parent = parent
            .into_iter()
            .next()
            .filter(|_| number.is_multiple_of(3));
        let dice = &mut self.dice;
        let company = data::company(dice, number, id.clone(), parent);
        let people: Vec<String> = (0..2).map(|_| dice.uuid()).collect();
        let customers: Vec<Vec<Cell>> = people
            .iter()
            .zip(2 * number..)
            .map(|(person, n)| data::customer(dice, n, number, person.clone(), Some(id.clone())))
            .collect();
        let deals: Vec<Vec<Cell>> = people
            .iter()
            .zip(1..)
            .map(|(person, n)| data::deal(dice, id.clone(), n, Some(person.clone())))
            .collect();
        app.begin().await?;
        app.insert(Table::Company, COMPANY, &[company]).await?;
        app.insert(Table::Customer, CUSTOMER, &customers).await?;
        app.insert(Table::Deal, DEAL, &deals).await?;
        app.commit().await
    }

    async fn progress(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Deal, "true", 1).await?;
        let stage = self.dice.pick(super::names::STAGES);
        let amount = self.dice.money(3_000_000);
        let won = if stage == "Closed Won" {
            "clock_timestamp()"
        } else {
            "NULL"
        };
        app.write_alone(
            Table::Deal,
            &format!(
                "UPDATE deal SET stage = {}, amount = {amount}, won_at = {won}, \
                 lock_version = lock_version + 1 WHERE {which}",
                literal(Some(stage))
            ),
        )
        .await?;
        Ok(())
    }

    async fn logins(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Customer, "true", 25).await?;
        let tier = if self.tiers {
            "tier = CASE WHEN lifetime_value < 100000 THEN 'silver' ELSE 'gold' END, "
        } else {
            ""
        };
        app.write_alone(
            Table::Customer,
            &format!(
                "UPDATE customer SET {tier}last_login = clock_timestamp(), lifetime_value = lifetime_value + 19.99, \
                 preferences = preferences || '{{\"theme\": \"night\"}}', lock_version = lock_version + 1 WHERE {which}"
            ),
        )
        .await?;
        Ok(())
    }

    async fn hot_deal(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Deal, "true", 1).await?;
        for _ in 0..15 {
            let amount = self.dice.money(9_000_000);
            app.write_alone(
                Table::Deal,
                &format!("UPDATE deal SET amount = {amount}, lock_version = lock_version + 1 WHERE {which}"),
            )
            .await?;
        }
        Ok(())
    }

    async fn note(&mut self, app: &mut App) -> Result<()> {
        let table = [Table::Company, Table::Customer, Table::Deal][self.dice.below(3)];
        let which = self.these(app, table, "true", 1).await?;
        let note = literal(self.dice.note().as_deref());
        app.write_alone(
            table,
            &format!(
                "UPDATE {} SET notes = {note}, lock_version = lock_version + 1 WHERE {which}",
                table.name()
            ),
        )
        .await?;
        Ok(())
    }

    /// Postgres does not send the notes again: they must stay as they are in the CRM.
    async fn figures(&mut self, app: &mut App) -> Result<()> {
        let which = self
            .these(app, Table::Company, "length(notes) > 4000", 2)
            .await?;
        app.write_alone(
            Table::Company,
            &format!(
                "UPDATE company SET employees = coalesce(employees, 0) + 7, annual_revenue = NULL, \
                 segments = '{{Startup}}', lock_version = lock_version + 1 WHERE {which}"
            ),
        )
        .await?;
        Ok(())
    }

    async fn nothing(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Customer, "true", 3).await?;
        app.write_alone(
            Table::Customer,
            &format!("UPDATE customer SET last_name = last_name WHERE {which}"),
        )
        .await?;
        Ok(())
    }

    async fn changed(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Customer, "true", 10).await?;
        app.begin().await?;
        app.write(
            Table::Customer,
            &format!("UPDATE customer SET last_name = 'Nobody', lock_version = lock_version + 1 WHERE {which}"),
        )
        .await?;
        app.roll_back().await
    }

    async fn renamed(&mut self, app: &mut App) -> Result<()> {
        let Some(old) = self.some(app, Table::Company, "true", 1).await?.pop() else {
            return Ok(());
        };
        let new = format!("{old}-new");
        let (from, to) = (literal(Some(&old)), literal(Some(&new)));
        app.begin().await?;
        app.cascade(Table::Company, &format!("parent_id = {from}"))
            .await?;
        app.cascade(Table::Customer, &format!("company_id = {from}"))
            .await?;
        app.cascade(Table::Deal, &format!("company_id = {from}"))
            .await?;
        app.write(
            Table::Company,
            &format!(
                "UPDATE company SET id = {to}, lock_version = lock_version + 1 WHERE id = {from}"
            ),
        )
        .await?;
        app.commit().await?;
        // An archived record still points to its parent, which is called otherwise now.
        for row in self.archived.values_mut() {
            if let Some(parent) = row.get_mut(2).filter(|p| p.as_deref() == Some(&old)) {
                *parent = Some(new.clone());
            }
        }
        Ok(())
    }

    async fn merged(&mut self, app: &mut App) -> Result<()> {
        let Some(old) = self.some(app, Table::Customer, "true", 1).await?.pop() else {
            return Ok(());
        };
        let new = self.dice.uuid();
        app.begin().await?;
        app.cascade(Table::Deal, &format!("customer_id = '{old}'"))
            .await?;
        app.write(
            Table::Customer,
            &format!("UPDATE customer SET id = '{new}', lock_version = lock_version + 1 WHERE id = '{old}'"),
        )
        .await?;
        app.commit().await
    }

    async fn moved(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Deal, "true", 1).await?;
        let Some(to) = self.some(app, Table::Company, "true", 1).await?.pop() else {
            return Ok(());
        };
        let to = literal(Some(&to));
        app.write_alone(
            Table::Deal,
            &format!(
                "UPDATE deal SET company_id = {to}, number = (SELECT coalesce(max(d.number), 0) + 100 \
                 FROM deal AS d WHERE d.company_id = {to}), lock_version = lock_version + 1 WHERE {which}"
            ),
        )
        .await?;
        Ok(())
    }

    /// Nobody is the buyer of a deal any more who is deleted.
    async fn forget(app: &mut App, people: &str) -> Result<()> {
        app.write(
            Table::Deal,
            &format!(
                "UPDATE deal SET customer_id = NULL, lock_version = lock_version + 1 \
                 WHERE customer_id IN (SELECT id FROM customer WHERE {people})"
            ),
        )
        .await?;
        app.write(
            Table::Customer,
            &format!("DELETE FROM customer WHERE {people}"),
        )
        .await?;
        Ok(())
    }

    async fn left(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Customer, "true", 1).await?;
        app.begin().await?;
        Play::forget(app, &which).await?;
        app.commit().await
    }

    async fn lost(&mut self, app: &mut App) -> Result<()> {
        let which = self.these(app, Table::Deal, "true", 1).await?;
        app.write_alone(Table::Deal, &format!("DELETE FROM deal WHERE {which}"))
            .await?;
        Ok(())
    }

    async fn closed(&mut self, app: &mut App) -> Result<()> {
        let Some(id) = self.some(app, Table::Company, "true", 1).await?.pop() else {
            return Ok(());
        };
        let which = literal(Some(&id));
        app.begin().await?;
        app.write(
            Table::Deal,
            &format!("DELETE FROM deal WHERE company_id = {which}"),
        )
        .await?;
        Play::forget(app, &format!("company_id = {which}")).await?;
        app.write(
            Table::Company,
            &format!("UPDATE company SET parent_id = NULL, lock_version = lock_version + 1 WHERE parent_id = {which}"),
        )
        .await?;
        let mut last = compare::company(app, &id).await?;
        app.write(
            Table::Company,
            &format!("DELETE FROM company WHERE id = {which}"),
        )
        .await?;
        app.commit().await?;
        if let Some(active) = last.last_mut() {
            *active = Some("false".to_owned());
        }
        self.archived.insert(id, last);
        Ok(())
    }

    async fn back(&mut self, app: &mut App) -> Result<()> {
        let Some(id) = self
            .some(app, Table::Customer, "company_id IS NOT NULL", 1)
            .await?
            .pop()
        else {
            return Ok(());
        };
        let company = app
            .one(&format!(
                "SELECT company_id FROM customer WHERE id = '{id}'"
            ))
            .await?;
        let version = app
            .number(&format!(
                "SELECT lock_version FROM customer WHERE id = '{id}'"
            ))
            .await?;
        app.begin().await?;
        Play::forget(app, &format!("id = '{id}'")).await?;
        app.commit().await?;
        tokio::time::sleep(PACE * 4).await;
        let number = self.companies;
        let row = data::customer(&mut self.dice, number, number, id.clone(), Some(company));
        app.begin().await?;
        app.insert(Table::Customer, CUSTOMER, &[row]).await?;
        // Where deletion and return became one write, the record's version must not seem to go back.
        app.write(
            Table::Customer,
            &format!("UPDATE customer SET lock_version = {version} + 1 WHERE id = '{id}'"),
        )
        .await?;
        app.commit().await
    }
}
