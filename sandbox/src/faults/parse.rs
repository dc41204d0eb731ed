//! The compact form of faults, for the command line.
//!
//! ```text
//! spec  = item *( "," item )
//! item  = "seed=" number | "latency=" duration | kind [ "=" dose *( ":" option ) ]
//! dose  = percent "%" | fraction | "@" n          (every n-th)
//! option= duration | "x" times | "amount" number | "+" after | Object | CODE
//! ```
//!
//! Example: `throttle=1%,lost=1%:x5,lock=2%:Contact,slow=1%:800ms,unauthorized=@500,seed=42`.

use super::{Kind, Plan, Rule};

/// Reads the compact form.
pub(super) fn spec(text: &str) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for item in text
        .split([',', ' ', ';'])
        .map(str::trim)
        .filter(|i| !i.is_empty())
    {
        let (name, rest) = item.split_once('=').unwrap_or((item, ""));
        match name {
            "seed" => {
                plan.seed = rest
                    .parse()
                    .map_err(|_| format!("seed is not a number: {rest}"))?
            }
            "latency" => {
                plan.latency_ms = duration(rest).ok_or_else(|| format!("not a duration: {rest}"))?
            }
            _ => plan.rules.push(rule(name, rest)?),
        }
    }
    Ok(plan)
}

fn rule(name: &str, rest: &str) -> Result<Rule, String> {
    let kind: Kind = serde_json::from_value(name.into()).map_err(|_| {
        format!(
            "unknown fault {name}; known are throttle, throttle_429, unavailable, bad_gateway, \
             maintenance, false_ok, html_ok, redirect, timeout_before, lost, cut, slow, unauthorized, drain, lock, reject, fail_job"
        )
    })?;
    let mut rule = Rule::of(kind);
    let mut parts = rest.split(':');
    let dose = parts.next().unwrap_or("");
    if let Some(n) = dose.strip_prefix('@') {
        rule.every = Some(
            n.parse()
                .map_err(|_| format!("{name}: not a number: {n}"))?,
        );
    } else if !dose.is_empty() {
        let (number, scale) = dose.strip_suffix('%').map_or((dose, 1.0), |d| (d, 100.0));
        let chance: f64 = number
            .parse()
            .map_err(|_| format!("{name}: not a share: {dose}"))?;
        rule.probability = chance / scale;
        if !(0.0..=1.0).contains(&rule.probability) {
            return Err(format!("{name}: a share lies between 0% and 100%: {dose}"));
        }
    }
    for part in parts {
        if let Some(ms) = duration(part) {
            rule.delay_ms = Some(ms);
        } else if let Some(times) = part.strip_prefix('x').and_then(|n| n.parse().ok()) {
            rule.times = Some(times);
        } else if let Some(after) = part.strip_prefix('+').and_then(|n| n.parse().ok()) {
            rule.after = after;
        } else if let Some(amount) = part.strip_prefix("amount").and_then(|n| n.parse().ok()) {
            rule.amount = Some(amount);
        } else if part.len() > 2 && part.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            rule.code = Some(part.to_owned());
        } else if part.bytes().next().is_some_and(|b| b.is_ascii_uppercase()) {
            rule.object = Some(part.to_owned());
        } else {
            return Err(format!("{name}: cannot read {part}"));
        }
    }
    Ok(rule)
}

fn duration(text: &str) -> Option<u64> {
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().ok();
    }
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (0.0..=3_600.0)
        .contains(&seconds)
        .then_some((seconds * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_compact_form_says_everything_a_command_line_needs() {
        let plan = spec("throttle=1%, lost=0.5%:x5,slow=1%:800ms,unauthorized=@500,timeout_before=0.01:2s,reject=1%:Contact:FIELD_CUSTOM_VALIDATION_EXCEPTION,drain=10%:amount50,seed=42,latency=20ms").unwrap();
        assert_eq!((plan.seed, plan.latency_ms, plan.rules.len()), (42, 20, 7));
        assert_eq!(plan.rules[0].probability, 0.01);
        assert_eq!(
            (plan.rules[1].probability, plan.rules[1].times),
            (0.005, Some(5))
        );
        assert_eq!(plan.rules[2].delay_ms, Some(800));
        assert_eq!(
            (plan.rules[3].every, plan.rules[3].probability),
            (Some(500), 1.0)
        );
        assert_eq!(plan.rules[4].delay_ms, Some(2_000));
        assert_eq!(plan.rules[5].object.as_deref(), Some("Contact"));
        assert_eq!(
            plan.rules[5].code.as_deref(),
            Some("FIELD_CUSTOM_VALIDATION_EXCEPTION")
        );
        assert_eq!(plan.rules[6].amount, Some(50));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(
            spec("thrott=1%")
                .unwrap_err()
                .contains("unknown fault thrott")
        );
        assert!(spec("lost=200%").unwrap_err().contains("200%"));
        assert!(spec("slow=1%:fast").unwrap_err().contains("fast"));
    }
}
