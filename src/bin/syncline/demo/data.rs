//! The company's data: the same at every run.
//!
//! What breaks a sync in real life is in it: names in many scripts, quotes, backslashes and tabs,
//! the surname Null, nulls everywhere they may be, notes of several kilobytes (which Postgres keeps
//! apart and does not send again when they do not change), decimals, dates before 1970, times with
//! zones, arrays, JSON.

use super::names::{
    COUNTRIES, Country, FIELDS, INDUSTRIES, PRODUCTS, SEGMENTS, SENTENCES, STAGES, STEMS, TITLES,
};

pub(super) const COMPANIES: usize = 600;
pub(super) const CUSTOMERS: usize = 1_800;
pub(super) const DEALS: usize = 1_200;

/// A value as Postgres reads it from text; `None` is NULL.
pub(super) type Cell = Option<String>;

/// Chance that is the same everywhere (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % (end.max(1) as u64)).unwrap_or(0)
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn digits(&mut self, pattern: &str) -> String {
        let digit = |c| match c {
            '#' => char::from(b'0' + u8::try_from(self.below(10)).unwrap_or(0)),
            other => other,
        };
        pattern.chars().map(digit).collect()
    }

    pub(super) fn uuid(&mut self) -> String {
        let (a, b) = (self.roll(), self.roll());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xFFFF,
            a & 0xFFF,
            b >> 52,
            b & 0xFFFF_FFFF_FFFF
        )
    }

    /// The value, or NULL in so many of a hundred cases.
    fn maybe(&mut self, null: usize, value: String) -> Cell {
        (!self.percent(null)).then_some(value)
    }

    fn date(&mut self, from: usize, to: usize) -> String {
        let year = from + self.below(to - from + 1);
        format!(
            "{year:04}-{:02}-{:02}",
            1 + self.below(12),
            1 + self.below(28)
        )
    }

    /// With a fraction and a zone, as applications write them.
    fn instant(&mut self, from: usize, to: usize) -> String {
        let zone = self.pick(&["+00", "+02", "-05", "+05:30", "+09", "-03"]);
        let (date, hour) = (self.date(from, to), self.below(24));
        format!(
            "{date} {hour:02}:{:02}:{:02}.{:06}{zone}",
            self.below(60),
            self.below(60),
            self.below(1_000_000)
        )
    }

    /// A note; one in six is too long to stay in its row.
    pub(super) fn note(&mut self) -> Cell {
        let sentences = match self.below(12) {
            0..4 => return None,
            4..10 => 1 + self.below(4),
            _ => 60 + self.below(120),
        };
        let mut text = String::new();
        for number in 0..sentences {
            if number > 0 {
                text.push(if number % 5 == 0 { '\n' } else { ' ' });
            }
            text.push_str(self.pick(SENTENCES));
            // Without this, long notes would be compressed until they fit into their row.
            text.push_str(&format!(" [{:016x}]", self.roll()));
        }
        Some(text)
    }

    fn list(&mut self, from: &[&str], most: usize) -> String {
        let start = self.below(from.len());
        let count = self.below(most + 1);
        let chosen = (0..count).map(|i| from[(start + i) % from.len()]);
        let quoted: Vec<String> = chosen
            .map(|v| format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        format!("{{{}}}", quoted.join(","))
    }

    pub(super) fn money(&mut self, below: usize) -> String {
        format!("{}.{:02}", self.below(below), self.below(100))
    }
}

/// All rows, in an order in which Postgres takes them.
pub(super) struct Data {
    pub(super) companies: Vec<Vec<Cell>>,
    pub(super) customers: Vec<Vec<Cell>>,
    pub(super) deals: Vec<Vec<Cell>>,
}

pub(super) const COMPANY: &str = "company (id, name, parent_id, industry, website, phone, street, city, postal_code, country, \
     employees, annual_revenue, health, is_partner, founded_on, segments, notes, created_at, internal_margin)";
pub(super) const CUSTOMER: &str = "customer (id, company_id, first_name, last_name, email, phone, title, language, birthday, \
     opted_out, lifetime_value, last_login, preferences, notes, password_hash)";
pub(super) const DEAL: &str = "deal (company_id, number, customer_id, title, stage, amount, discount, closes_on, won_at, \
     auto_renew, products, notes)";

/// The data set.
pub(super) fn data() -> Data {
    let mut dice = Dice::new(20_260_401);
    let mut companies = Vec::with_capacity(COMPANIES);
    let mut ids: Vec<String> = Vec::with_capacity(COMPANIES);
    for number in 0..COMPANIES {
        let id = company_id(number);
        // One in five belongs to a larger one, three levels deep at most.
        let parent =
            (number >= 20 && dice.percent(20)).then(|| ids[dice.below(number / 3 + 1)].clone());
        companies.push(company(&mut dice, number, id.clone(), parent));
        ids.push(id);
    }
    let mut people: Vec<(String, String)> = Vec::with_capacity(CUSTOMERS);
    let mut customers = Vec::with_capacity(CUSTOMERS);
    for number in 0..CUSTOMERS {
        let id = dice.uuid();
        // Some have left their company.
        let at = dice.below(COMPANIES);
        let company = dice.maybe(2, ids[at].clone());
        people.push((id.clone(), ids[at].clone()));
        customers.push(customer(&mut dice, number, at, id, company));
    }
    let mut numbers = vec![0u32; COMPANIES];
    let mut deals = Vec::with_capacity(DEALS);
    for _ in 0..DEALS {
        let buyer = dice.below(CUSTOMERS);
        let (person, company) = people[buyer].clone();
        let at = ids.iter().position(|id| *id == company).unwrap_or(0);
        numbers[at] += 1;
        let person = dice.maybe(10, person);
        deals.push(deal(&mut dice, company, numbers[at], person));
    }
    Data {
        companies,
        customers,
        deals,
    }
}

/// A slug, as web applications make them.
pub(super) fn company_id(number: usize) -> String {
    let stem: String = STEMS[number % STEMS.len()]
        .to_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let field = FIELDS[number / STEMS.len() % FIELDS.len()].to_lowercase();
    format!("{stem}-{field}-{number}")
}

fn country(number: usize) -> &'static Country {
    &COUNTRIES[number % COUNTRIES.len()]
}

/// A row of [`COMPANY`].
pub(super) fn company(dice: &mut Dice, number: usize, id: String, parent: Cell) -> Vec<Cell> {
    let country = country(number);
    let stem = STEMS[number % STEMS.len()];
    let field = FIELDS[number / STEMS.len() % FIELDS.len()];
    let name = format!("{stem} {field} {}", dice.pick(country.forms));
    let (city, postal) = country.cities[dice.below(country.cities.len())];
    let site = format!("https://www.{id}.example.{}", country.domain);
    let phone = format!("{} {}", country.prefix, dice.digits("### ## ##"));
    let house = (1 + dice.below(180)).to_string();
    let street = dice.pick(country.streets).replace('#', &house);
    let employees = 1 + dice.below(20_000);
    let revenue = dice.below(900_000_000) * 1_000;
    vec![
        Some(id),
        Some(name),
        parent,
        Some(dice.pick(INDUSTRIES).to_owned()).filter(|_| !number.is_multiple_of(9)),
        dice.maybe(15, site),
        dice.maybe(10, phone),
        dice.maybe(5, street),
        dice.maybe(5, city.to_owned()),
        Some(dice.digits(postal)),
        Some(country.name.to_owned()),
        dice.maybe(10, employees.to_string()),
        dice.maybe(30, revenue.to_string()),
        Some(format!(
            "{}{}",
            if dice.percent(10) { "-" } else { "" },
            dice.money(10)
        ))
        .filter(|_| !number.is_multiple_of(4)),
        Some(dice.percent(12).to_string()),
        Some(dice.date(1871, 2024)).filter(|_| !number.is_multiple_of(6)),
        Some(dice.list(SEGMENTS, 3)),
        dice.note(),
        Some(dice.instant(2012, 2025)),
        Some(dice.money(60)),
    ]
}

/// A row of [`CUSTOMER`].
pub(super) fn customer(
    dice: &mut Dice,
    number: usize,
    at: usize,
    id: String,
    company: Cell,
) -> Vec<Cell> {
    let country = country(at);
    let phone = format!("{} {}", country.prefix, dice.digits("### ####"));
    let theme = dice.pick(&["dark", "light", "système", "自動"]);
    let weekly = dice.percent(50);
    vec![
        Some(id),
        company,
        Some(dice.pick(country.first).to_owned()).filter(|_| !number.is_multiple_of(12)),
        Some(dice.pick(country.last).to_owned()),
        Some(format!(
            "person.{number}+crm@mail.example.{}",
            country.domain
        ))
        .filter(|_| !number.is_multiple_of(14)),
        dice.maybe(20, phone),
        Some(dice.pick(TITLES).to_owned()).filter(|_| !number.is_multiple_of(5)),
        Some(country.language.to_owned()).filter(|_| !number.is_multiple_of(8)),
        Some(dice.date(1938, 2006)).filter(|_| !number.is_multiple_of(3)),
        Some(dice.percent(15).to_string()),
        Some(dice.money(250_000)),
        Some(dice.instant(2023, 2025)).filter(|_| !number.is_multiple_of(7)),
        Some(format!(
            "{{\"theme\": \"{theme}\", \"digest\": {{\"weekly\": {weekly}, \"hour\": {}}}, \"tags\": [1, 2.50, null]}}",
            dice.below(24)
        )),
        dice.note(),
        Some(format!(
            "$argon2id$v=19$m=19456,t=2,p=1${:032x}",
            u128::from(dice.roll())
        )),
    ]
}

/// A row of [`DEAL`].
pub(super) fn deal(dice: &mut Dice, company: String, number: u32, buyer: Cell) -> Vec<Cell> {
    let stage = dice.pick(STAGES);
    let product = dice.pick(PRODUCTS);
    let amount = dice.money(2_000_000);
    let won = (stage == "Closed Won").then(|| dice.instant(2024, 2025));
    let discount = format!("{}.{}", dice.below(40), dice.pick(&["00", "25", "5", "75"]));
    let products = dice.list(PRODUCTS, 4);
    vec![
        Some(company),
        Some(number.to_string()),
        buyer,
        Some(format!("{product} – {} seats", 5 * (1 + dice.below(400)))),
        Some(stage.to_owned()),
        dice.maybe(8, amount),
        dice.maybe(60, discount),
        Some(dice.date(2025, 2027)),
        won,
        Some(dice.percent(40).to_string()),
        dice.maybe(10, products),
        dice.note(),
    ]
}
