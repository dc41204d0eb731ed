//! The same windows by jobs and by requests.

use super::*;

/// Values of every awkward kind, all of them good.
fn awkward(random: &mut StdRng, key: usize) -> String {
    match random.random_range(0..16) {
        0 => "#N/A".into(),
        1 => format!(" blanks {key} "),
        2 => format!("a, \"quoted\" {key}"),
        3 => format!("two\nlines {key}"),
        4 => format!("two\r\nlines {key}"),
        5 => format!("ключ {key} 漢字"),
        _ => format!("Name {key}"),
    }
}

/// Operations with at most one fault each: which of several is told first is the CRM's business.
fn operations(schema: &Schema, random: &mut StdRng, round: usize) -> Vec<Operation> {
    let mut all = Vec::new();
    for key in 0..60 {
        let mut fields = BTreeMap::from([(0, text(0, awkward(random, key)))]);
        match random.random_range(0..4) {
            0 => drop(fields.insert(1, clear(1))),
            1 => drop(fields.insert(1, text(1, format!("+1 555 {round:04}")))),
            _ => {}
        }
        if random.random_bool(0.5) {
            let number = random.random_range(0..1_000).to_string();
            fields.insert(2, set(2, FieldValue::Number(number.into())));
        }
        match random.random_range(0..30) {
            0 => drop(fields.insert(0, text(0, "x".repeat(300)))),
            1 => drop(fields.insert(0, text(0, "bell \u{7}"))),
            2 => drop(fields.insert(2, set(2, FieldValue::Number("1e1".into())))),
            3 => drop(fields.insert(2, set(2, FieldValue::Text("many".into())))),
            _ => {}
        }
        let fields = fields.into_values().collect();
        all.push(upsert(&schema.accounts, format!("a{key}"), fields));
    }
    for key in 0..80 {
        let mut fields = BTreeMap::from([(0, text(0, awkward(random, key)))]);
        let parent = |key: &str| set(2, FieldValue::Reference(key.into()));
        match random.random_range(0..6) {
            0 => drop(fields.insert(1, text(1, format!("c{key}@example.com")))),
            1 => drop(fields.insert(1, clear(1))),
            _ => {}
        }
        match random.random_range(0..8) {
            0 => drop(fields.insert(2, clear(2))),
            n => drop(fields.insert(2, parent(&format!("a{n}")))),
        }
        if random.random_bool(0.2) {
            fields.insert(3, text(3, "1990-02-03"));
        }
        match random.random_range(0..20) {
            0 => drop(fields.insert(1, text(1, "no address"))),
            1 => drop(fields.insert(2, parent("nowhere"))),
            2 => drop(fields.insert(3, text(3, "1990-02-30"))),
            _ => {}
        }
        let fields = fields.into_values().collect();
        let key = format!("c{key}");
        match random.random_range(0..12) {
            0 if round > 0 => all.push(Operation {
                action: Action::Delete { hard: false },
                ..upsert(&schema.contacts, key, Vec::new())
            }),
            _ => all.push(upsert(&schema.contacts, key, fields)),
        }
    }
    all
}

/// Panics at what differs, with nothing else.
fn same<V: PartialEq + std::fmt::Debug>(a: &BTreeMap<String, V>, b: &BTreeMap<String, V>) {
    let keys = a.keys().chain(b.keys());
    let differs = |k: &&String| a.get(*k) != b.get(*k);
    let different: Vec<_> = keys
        .filter(differs)
        .map(|k| (k, a.get(k), b.get(k)))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_come_to_what_requests_come_to() {
    let seed = rand::rng().random_range(0..1_000_000);
    eprintln!("seed {seed}");
    let schema = Schema::new();
    let (one, other) = (Org::start().await, Org::start().await);
    let mut jobs = Side::new(&one, &schema, BulkMode::Always).await;
    let mut requests = Side::new(&other, &schema, BulkMode::Never).await;
    // Parents that are never refused.
    let first: Vec<_> = (0..10)
        .map(|n| upsert(&schema.accounts, format!("a{n}"), vec![text(0, "First")]))
        .collect();
    jobs.fly(&first).await;
    requests.fly(&first).await;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..6 {
        let operations = operations(&schema, &mut random, round);
        let by_jobs = jobs.fly(&operations).await;
        let by_requests = requests.fly(&operations).await;
        let (mut a, mut b) = (classes(&by_jobs), classes(&by_requests));
        if round > 0 {
            // What was refused before is merged in: then a record can have several faults.
            for outcome in a.values_mut().chain(b.values_mut()) {
                let refused = outcome.starts_with("Record") || outcome.starts_with("Missing");
                if refused {
                    *outcome = "refused".into();
                }
            }
        }
        same(&a, &b);
        same(&contents(&one).await, &contents(&other).await);
    }
    assert!(jobs.calls("bulk_open") >= 10, "{}", jobs.calls("bulk_open"));
    assert_eq!(requests.calls("bulk_open"), 0);
    assert_eq!(jobs.store.bulk_jobs().await.unwrap(), []);
}
