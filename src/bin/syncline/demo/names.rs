//! Words that the data is made of.

/// A country: how its companies, cities and people are called.
pub(super) struct Country {
    pub(super) name: &'static str,
    pub(super) language: &'static str,
    pub(super) domain: &'static str,
    pub(super) prefix: &'static str,
    pub(super) forms: &'static [&'static str],
    /// City and the start of its postal codes; `#` is a digit.
    pub(super) cities: &'static [(&'static str, &'static str)],
    /// A street; `#` is the number.
    pub(super) streets: &'static [&'static str],
    pub(super) first: &'static [&'static str],
    pub(super) last: &'static [&'static str],
}

pub(super) const COUNTRIES: &[Country] = &[
    Country {
        name: "Deutschland",
        language: "de",
        domain: "de",
        prefix: "+49 30",
        forms: &["GmbH", "AG", "GmbH & Co. KG", "SE"],
        cities: &[("Berlin", "10###"), ("München", "80###"), ("Köln", "50###"), ("Düsseldorf", "40###")],
        streets: &["Schönhauser Allee #", "Große Straße #", "Königsallee #", "Am Mühlenbach #"],
        first: &["Jürgen", "Käthe", "Björn", "Anna", "Sören", "Heike", "Lukas", "Mareike"],
        last: &["Müller", "Schäfer", "Großmann", "Weiß", "Jäger", "von der Heide", "Krüger", "Öztürk"],
    },
    Country {
        name: "France",
        language: "fr",
        domain: "fr",
        prefix: "+33 1",
        forms: &["SARL", "SA", "SAS", "& Fils"],
        cities: &[("Paris", "75###"), ("Lyon", "69###"), ("Saint-Étienne", "42###"), ("Nîmes", "30###")],
        streets: &["# rue de l'Église", "# avenue des Champs-Élysées", "# quai d'Orsay", "# place de la République"],
        first: &["Élodie", "François", "Zoé", "Jérôme", "Anaïs", "Benoît", "Noël", "Chloé"],
        last: &["Lefèvre", "D'Aubigné", "Gérard", "Besançon", "Le Goff", "Dûchène", "Morel", "Lévêque"],
    },
    Country {
        name: "日本",
        language: "ja",
        domain: "co.jp",
        prefix: "+81 3",
        forms: &["株式会社", "合同会社", "ホールディングス"],
        cities: &[("東京", "1##-00##"), ("大阪", "53#-00##"), ("京都", "60#-80##"), ("札幌", "06#-00##")],
        streets: &["中央区銀座#丁目", "千代田区丸の内#丁目", "渋谷区神南#丁目"],
        first: &["さくら", "太郎", "花子", "健一", "美咲", "翔", "陽子", "大輔"],
        last: &["佐藤", "鈴木", "髙橋", "渡邉", "伊藤", "山本", "齋藤", "小林"],
    },
    Country {
        name: "United States",
        language: "en",
        domain: "com",
        prefix: "+1 415",
        forms: &["Inc.", "LLC", "Corp.", "& Sons", "Holdings"],
        cities: &[("San Francisco", "941##"), ("New York", "100##"), ("Austin", "787##"), ("Winston-Salem", "271##")],
        streets: &["# Market Street", "# 5th Avenue, Suite 12", "# O'Farrell St", "# Congress Ave"],
        first: &["Olivia", "Liam", "Shaun", "D'Andre", "Mary Ann", "José", "Priya", "Zoë"],
        last: &["O'Neill", "Smith-Jones", "Nguyen", "Garcia", "McAllister", "Brown", "Null", "Washington"],
    },
    Country {
        name: "Brasil",
        language: "pt",
        domain: "com.br",
        prefix: "+55 11",
        forms: &["Ltda.", "S.A.", "e Filhos", "ME"],
        cities: &[("São Paulo", "01###-000"), ("Brasília", "70###-000"), ("Goiânia", "74###-000"), ("Florianópolis", "88###-000")],
        streets: &["Avenida Paulista, #", "Rua das Araújos, #", "Praça da Sé, #", "Rua São João, #"],
        first: &["João", "Conceição", "Antônia", "Luís", "Débora", "Tião", "Inês", "Caetano"],
        last: &["da Conceição", "Gonçalves", "Magalhães", "Araújo", "Assunção", "Simões", "Brandão", "Sá"],
    },
    Country {
        name: "Polska",
        language: "pl",
        domain: "pl",
        prefix: "+48 22",
        forms: &["sp. z o.o.", "S.A.", "i Synowie"],
        cities: &[("Łódź", "90-###"), ("Kraków", "30-###"), ("Gdańsk", "80-###"), ("Wrocław", "50-###")],
        streets: &["ul. Świętokrzyska #", "ul. Piotrkowska #/4", "al. Jana Pawła II #"],
        first: &["Małgorzata", "Łukasz", "Żaneta", "Paweł", "Agnieszka", "Święcisław", "Zofia", "Michał"],
        last: &["Wójcik", "Kowalska", "Dąbrowski", "Żółkiewska", "Zając", "Świątek", "Gęsior", "Nowak"],
    },
    Country {
        name: "ישראל",
        language: "he",
        domain: "co.il",
        prefix: "+972 3",
        forms: &["בע\"מ", "ושות'"],
        cities: &[("תל אביב", "61#####"), ("ירושלים", "91#####"), ("חיפה", "31#####")],
        streets: &["רחוב הרצל #", "שדרות רוטשילד #", "דרך יפו #"],
        first: &["נועה", "יוסף", "מיכל", "אריאל", "שירה", "דוד"],
        last: &["כהן", "לוי", "מזרחי", "פרץ", "אברהם", "בן־דוד"],
    },
    Country {
        name: "India",
        language: "hi",
        domain: "in",
        prefix: "+91 80",
        forms: &["Pvt. Ltd.", "Ltd.", "Enterprises"],
        cities: &[("बेंगलुरु", "5600##"), ("Mumbai", "4000##"), ("Chennai", "6000##"), ("नई दिल्ली", "1100##")],
        streets: &["#, M.G. Road", "# Nehru Place (3rd floor)", "#/A Brigade Road"],
        first: &["Aarav", "दीपिका", "Sanjay", "Lakshmi", "अर्जुन", "Meera", "Vikram", "Fatima"],
        last: &["Iyer", "शर्मा", "Patel", "Krishnamurthy", "गुप्ता", "Singh", "D'Souza", "Khan"],
    },
];

pub(super) const STEMS: &[&str] = &[
    "Aurora", "Borealis", "Café Zentral", "Delta-Æther", "Équinoxe", "Fjord", "Granit", "Hélios",
    "Ínterim", "Jökull", "Kärcher & Sohn", "Lumière", "Młyn", "Nordlicht", "Ōmori", "Pažitka",
    "Quetzal", "Río Alto", "Škola", "Tōkai", "Ümit", "Vårdal", "Wisła", "Xochimilco", "Ypsilon",
    "Żubr", "Ἀθηνᾶ", "Заря", "서울", "深圳", "☀ Solar", "Bits \"n\" Bytes", "50% & Co", "C:\\Tools",
];

pub(super) const FIELDS: &[&str] = &[
    "Logistics", "Optics", "Robotics", "Textiles", "Foods", "Energy", "Media", "Pharma", "Software",
    "Steel", "Travel", "Water",
];

pub(super) const INDUSTRIES: &[&str] = &[
    "Agriculture", "Banking", "Biotechnology", "Energy", "Food & Beverage", "Healthcare", "Media",
    "Manufacturing", "Retail", "Technology", "Transportation", "Utilities",
];

/// The values of the restricted list on both sides.
pub(super) const SEGMENTS: &[&str] = &[
    "Enterprise", "Mid-Market", "Öffentliche Hand", "Startup", "Strategic, global", "VIP \"gold\"",
];

pub(super) const STAGES: &[&str] = &[
    "Prospecting", "Qualification", "Needs Analysis", "Proposal/Price Quote", "Negotiation/Review",
    "Closed Won", "Closed Lost",
];

pub(super) const TITLES: &[&str] = &[
    "CEO", "CTO", "Head of Sales", "Geschäftsführerin", "Directrice générale", "部長", "Buyer",
    "VP, Operations & Logistics", "Team Lead", "Gérante",
];

pub(super) const PRODUCTS: &[&str] = &[
    "Starter", "Team", "Business", "Enterprise", "Support 24/7", "Onboarding, 2 days",
    "Módulo \"Fiscal\"", "SSO {SAML}", "Data\\Export", "NULL",
];

/// Sentences for notes.
pub(super) const SENTENCES: &[&str] = &[
    "Met at the fair in Köln; they want a pilot before summer.",
    "Appelé deux fois, répondeur. À relancer après la rentrée.",
    "価格の見積もりを来週までに送ること。",
    "Their security review took six weeks — plan for it.",
    "Cliente muito satisfeito com a integração; pede desconto de 10 %.",
    "Budget is approved; legal wants clause 7.3 \"liability\" removed.",
    "Zadzwonić w poniedziałek, pytać o panią Żaneta.",
    "Renewal depends on the SSO module; see ticket #4711 & the e-mail of 3 May.",
    "They compared us with two others: price 👎, support 👍👍.",
    "לתאם פגישה עם מנהלת הרכש.",
    "Uses tabs\tin everything he writes, and back\\slashes.",
    "अगली बैठक में तकनीकी टीम भी होगी।",
];
