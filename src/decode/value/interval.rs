//! Intervals, in the output style `postgres`: `1 year 2 mons -3 days +04:05:06.789`.

use super::calendar::minutes_and_seconds;
use super::{Cursor, Read, decimal};
use crate::value::Value;

const RANGE: &str = "it is beyond the range of the type";

pub(super) fn interval(text: &[u8]) -> Read<Value<'static>> {
    match text {
        b"infinity" => return Ok(Value::IntervalInfinity { negative: false }),
        b"-infinity" => return Ok(Value::IntervalInfinity { negative: true }),
        _ => {}
    }
    let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64);
    // Units come from the largest to the smallest, each once, the time of day last.
    let mut last = Unit::None;
    for part in Parts::new(text) {
        let (unit, amount) = part?;
        if unit <= last {
            return Err("its units are not in order");
        }
        last = unit;
        match unit {
            Unit::None => {}
            Unit::Years => months = amount.checked_mul(12).ok_or(RANGE)?,
            Unit::Months => months = months.checked_add(amount).ok_or(RANGE)?,
            Unit::Days => days = amount,
            Unit::Time => micros = amount,
        }
    }
    if last == Unit::None {
        return Err("it is empty");
    }
    Ok(Value::Interval {
        months,
        days,
        micros,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    None,
    Years,
    Months,
    Days,
    Time,
}

/// The parts of an interval: an amount and a unit, or a time of day.
struct Parts<'a> {
    rest: Cursor<'a>,
    first: bool,
}

impl<'a> Parts<'a> {
    fn new(text: &'a [u8]) -> Self {
        Parts {
            rest: Cursor(text),
            first: true,
        }
    }

    fn part(&mut self) -> Read<(Unit, i64)> {
        if !self.first && !self.rest.eat(b' ') {
            return Err("its parts are not separated");
        }
        self.first = false;
        let negative = self.rest.eat(b'-');
        if !negative {
            self.rest.eat(b'+');
        }
        let amount = decimal(self.rest.digits()).ok_or("a part of it is not a number")?;
        if self.rest.peek() == Some(b':') {
            return Ok((Unit::Time, self.time(negative, amount)?));
        }
        if !self.rest.eat(b' ') {
            return Err("a part of it has no unit");
        }
        let len = self
            .rest
            .0
            .iter()
            .take_while(|b| b.is_ascii_lowercase())
            .count();
        let (name, rest) = self.rest.0.split_at(len);
        self.rest.0 = rest;
        let unit = match name {
            b"year" | b"years" => Unit::Years,
            b"mon" | b"mons" => Unit::Months,
            b"day" | b"days" => Unit::Days,
            _ => return Err("a part of it has an unknown unit"),
        };
        Ok((unit, signed(negative, amount.into())?))
    }

    fn time(&mut self, negative: bool, hours: u64) -> Read<i64> {
        let (minutes, seconds) =
            minutes_and_seconds(&mut self.rest).ok_or("its time is not of the form HH:MM:SS")?;
        let micros = self.rest.fraction()?;
        let below_an_hour = (minutes * 60 + seconds) * 1_000_000 + micros;
        // The smallest interval has a magnitude that only fits when it is negative.
        let micros = i128::from(hours) * 3_600_000_000 + i128::from(below_an_hour);
        signed(negative, micros)
    }
}

impl Iterator for Parts<'_> {
    type Item = Read<(Unit, i64)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.part())
    }
}

fn signed(negative: bool, magnitude: i128) -> Read<i64> {
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| RANGE)
}
