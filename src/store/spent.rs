//! What was used of the CRM's limit, quarter by quarter of an hour.

use super::encoding::{Decoded, Malformed, Reader, Stored};
use crate::sinks::budget::{Account, Quarter};

impl Stored for Account {
    fn encode(&self, out: &mut Vec<u8>) {
        self.max.encode(out);
        self.first.encode(out);
        self.heard.encode(out);
        (self.quarters.len() as u64).encode(out);
        for quarter in &self.quarters {
            quarter.number.encode(out);
            quarter.ours.encode(out);
            // Requests in part come from spreading what was noticed late.
            for others in [quarter.others, quarter.guessed] {
                ((others * 100.0).round().max(0.0) as u64).encode(out);
            }
            quarter.high.encode(out);
        }
    }
    fn decode(from: &mut Reader<'_>) -> Decoded<Self> {
        let (max, first, heard) = (
            Stored::decode(from)?,
            Stored::decode(from)?,
            Stored::decode(from)?,
        );
        let count = u64::decode(from)?;
        let mut quarters = Vec::new();
        for _ in 0..count {
            let quarter = Quarter {
                number: Stored::decode(from)?,
                ours: Stored::decode(from)?,
                others: u64::decode(from)? as f64 / 100.0,
                guessed: u64::decode(from)? as f64 / 100.0,
                high: Stored::decode(from)?,
            };
            let last = quarters.last().map(|q: &Quarter| q.number);
            if last.is_some_and(|last| last >= quarter.number) {
                return Err(Malformed::Damaged);
            }
            quarters.push(quarter);
        }
        Ok(Account::restored(max, first, heard, quarters))
    }
}
