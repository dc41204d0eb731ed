//! From words to a query.

use super::QueryError;
use super::ast::{Expr, Item, Literal, Op, Order, Path, Query};
use super::lexer::{Token, lex};

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<(Token, usize)>,
    next: usize,
}

/// How deep parentheses and NOT may nest, so that no query exhausts the stack.
const MAX_DEPTH: usize = 100;

type Parsed<T> = Result<T, QueryError>;

/// Parses a whole query.
pub(super) fn parse(query: &str) -> Parsed<Query> {
    let mut p = Parser {
        query,
        tokens: lex(query)?,
        next: 0,
    };
    p.keyword("SELECT")?;
    let items = p.items()?;
    p.keyword("FROM")?;
    let from = p.name()?;
    let alias = match p.peek() {
        Token::Name(word) if !is_clause(word) => Some(p.name()?),
        _ => None,
    };
    let filter = if p.take_word("WHERE") {
        Some(p.any_of(0)?)
    } else {
        None
    };
    let mut order = Vec::new();
    if p.take_word("ORDER") {
        p.keyword("BY")?;
        loop {
            order.push(p.sort_key()?);
            if !p.take_symbol(",") {
                break;
            }
        }
    }
    let limit = if p.take_word("LIMIT") {
        Some(p.count()?)
    } else {
        None
    };
    let offset = if p.take_word("OFFSET") { p.count()? } else { 0 };
    if p.take_word("FOR") {
        // FOR VIEW and FOR REFERENCE only touch "recently viewed".
        p.name()?;
    }
    match p.peek() {
        Token::End => Ok(Query {
            items,
            from,
            alias,
            filter,
            order,
            limit,
            offset,
        }),
        _ => Err(p.unexpected()),
    }
}

fn is_clause(word: &str) -> bool {
    [
        "WHERE", "ORDER", "LIMIT", "OFFSET", "FOR", "GROUP", "WITH", "USING", "HAVING", "ALL",
    ]
    .iter()
    .any(|clause| word.eq_ignore_ascii_case(clause))
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |(token, _)| token)
    }

    fn at(&self) -> usize {
        self.tokens
            .get(self.next)
            .map_or(self.query.len(), |(_, at)| *at)
    }

    fn unexpected(&self) -> QueryError {
        let shown = match self.peek() {
            Token::Name(text) | Token::Number(text) | Token::Moment(text) => {
                format!("unexpected token: '{text}'")
            }
            Token::Text(text) => format!("unexpected token: '{text}'"),
            Token::Symbol(symbol) => format!("unexpected token: '{symbol}'"),
            Token::End => "unexpected token: '<EOF>'".to_owned(),
        };
        QueryError::at("MALFORMED_QUERY", self.query, self.at(), &shown)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.take_word(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        self.next += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn path(&mut self) -> Parsed<Path> {
        let at = self.at();
        let mut parts = vec![self.name()?];
        while self.take_symbol(".") {
            parts.push(self.name()?);
        }
        Ok(Path { parts, at })
    }

    fn items(&mut self) -> Parsed<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            let path = self.path()?;
            if self.take_symbol("(") {
                let word = path.parts.join(".").to_uppercase();
                match word.as_str() {
                    "COUNT" if self.take_symbol(")") && items.is_empty() => {
                        return Ok(vec![Item::Count]);
                    }
                    "FIELDS" => {
                        let which = self.name()?.to_uppercase();
                        self.symbol(")")?;
                        items.push(Item::Fields(which));
                    }
                    // Formatting only; the value is given as it is.
                    "TOLABEL" | "FORMAT" | "CONVERTTIMEZONE" => {
                        items.push(Item::Field(self.path()?));
                        self.symbol(")")?;
                    }
                    _ => return Err(self.unexpected()),
                }
            } else {
                items.push(Item::Field(path));
            }
            if !self.take_symbol(",") {
                return Ok(items);
            }
        }
    }

    fn count(&mut self) -> Parsed<usize> {
        let at = self.next;
        if let Token::Number(text) = self.peek().clone()
            && let Ok(n) = text.parse()
        {
            self.next += 1;
            return Ok(n);
        }
        self.next = at;
        Err(self.unexpected())
    }

    fn sort_key(&mut self) -> Parsed<Order> {
        let path = self.path()?;
        let descending = if self.take_word("DESC") {
            true
        } else {
            self.take_word("ASC");
            false
        };
        let mut nulls_last = false;
        if self.take_word("NULLS") {
            nulls_last = self.take_word("LAST");
            if !nulls_last {
                self.keyword("FIRST")?;
            }
        }
        Ok(Order {
            path,
            descending,
            nulls_last,
        })
    }

    /// Conditions joined by OR or by AND; mixing them needs parentheses, as in Salesforce.
    fn any_of(&mut self, depth: usize) -> Parsed<Expr> {
        let first = self.condition(depth)?;
        let word = if self.is_word("AND") {
            "AND"
        } else if self.is_word("OR") {
            "OR"
        } else {
            return Ok(first);
        };
        let mut all = vec![first];
        while self.take_word(word) {
            all.push(self.condition(depth)?);
        }
        if self.is_word("AND") || self.is_word("OR") {
            return Err(self.unexpected());
        }
        Ok(if word == "AND" {
            Expr::And(all)
        } else {
            Expr::Or(all)
        })
    }

    fn condition(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > MAX_DEPTH {
            return Err(QueryError::new(
                "MALFORMED_QUERY",
                "query is too deeply nested",
            ));
        }
        if self.take_word("NOT") {
            return Ok(Expr::Not(Box::new(self.condition(depth + 1)?)));
        }
        if self.take_symbol("(") {
            let inner = self.any_of(depth + 1)?;
            self.symbol(")")?;
            return Ok(inner);
        }
        let path = self.path()?;
        let op = self.operator()?;
        let values = match op {
            Op::In | Op::NotIn | Op::Includes | Op::Excludes => {
                self.symbol("(")?;
                let mut values = vec![self.literal()?];
                while self.take_symbol(",") {
                    values.push(self.literal()?);
                }
                self.symbol(")")?;
                values
            }
            _ => vec![self.literal()?],
        };
        Ok(Expr::Compare { path, op, values })
    }

    fn operator(&mut self) -> Parsed<Op> {
        let symbols = [
            ("=", Op::Eq),
            ("!=", Op::Ne),
            ("<=", Op::Le),
            (">=", Op::Ge),
            ("<", Op::Lt),
            (">", Op::Gt),
        ];
        for (symbol, op) in symbols {
            if self.take_symbol(symbol) {
                return Ok(op);
            }
        }
        for (word, op) in [
            ("LIKE", Op::Like),
            ("IN", Op::In),
            ("INCLUDES", Op::Includes),
            ("EXCLUDES", Op::Excludes),
        ] {
            if self.take_word(word) {
                return Ok(op);
            }
        }
        if self.take_word("NOT") {
            self.keyword("IN")?;
            return Ok(Op::NotIn);
        }
        Err(self.unexpected())
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let literal = match self.peek().clone() {
            Token::Text(text) => {
                if text.chars().count() > 4_000 {
                    return Err(QueryError::new(
                        "MALFORMED_QUERY",
                        "a string literal cannot be longer than 4000 characters",
                    ));
                }
                Literal::Text(text)
            }
            Token::Number(text) => match text.parse() {
                Ok(number) => Literal::Number(number),
                Err(_) => return Err(self.unexpected()),
            },
            Token::Moment(text) if text.contains('T') => Literal::DateTime(text),
            Token::Moment(text) => Literal::Date(text),
            Token::Name(word) => match word.to_uppercase().as_str() {
                "TRUE" => Literal::Bool(true),
                "FALSE" => Literal::Bool(false),
                "NULL" => Literal::Null,
                range @ ("TODAY" | "YESTERDAY" | "TOMORROW" | "LAST_N_DAYS" | "NEXT_N_DAYS"
                | "N_DAYS_AGO") => {
                    self.next += 1;
                    let n = if self.take_symbol(":") {
                        Some(self.count()? as i64)
                    } else {
                        None
                    };
                    return Ok(Literal::Range(range.to_owned(), n));
                }
                _ => return Err(self.unexpected()),
            },
            Token::Symbol(_) | Token::End => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(literal)
    }
}
