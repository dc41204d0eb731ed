//! What the parser makes of a query, before any name is looked up.

/// A name with dots, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) parts: Vec<String>,
    pub(super) at: usize,
}

/// One thing selected.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Field(Path),
    /// `FIELDS(ALL)`, `FIELDS(STANDARD)`, `FIELDS(CUSTOM)`.
    Fields(String),
    Count,
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
    Date(String),
    DateTime(String),
    /// `TODAY`, `LAST_N_DAYS:7`.
    Range(String, Option<i64>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
    In,
    NotIn,
    Includes,
    Excludes,
}

/// A condition.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        path: Path,
        op: Op,
        values: Vec<Literal>,
    },
}

/// One sort key.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) path: Path,
    pub(super) descending: bool,
    pub(super) nulls_last: bool,
}

/// A whole query.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) items: Vec<Item>,
    pub(super) from: String,
    pub(super) alias: Option<String>,
    pub(super) filter: Option<Expr>,
    pub(super) order: Vec<Order>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}
