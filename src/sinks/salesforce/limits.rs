//! What the answers say of the org's limits.

use crate::sinks::DailyUse;

/// Reads `Sforce-Limit-Info`, which stands on every answer but the list of versions:
/// `api-usage=25/5000; per-app-api-usage=17/250(appName=cdc)`. Parts it does not know are passed
/// over.
pub(super) fn parse(header: &str) -> Option<DailyUse> {
    let mut daily = None;
    for part in header.split([';', ',']) {
        let Some((name, value)) = part.trim().split_once('=') else {
            continue;
        };
        if name.trim() == "api-usage" {
            let (used, max) = value.split_once('/')?;
            daily = Some(DailyUse {
                used: used.trim().parse().ok()?,
                max: max.trim().parse().ok()?,
            });
        }
    }
    daily
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read() {
        let use_of = |used, max| Some(DailyUse { used, max });
        for (header, expected) in [
            ("api-usage=10018/100000", use_of(10018, 100_000)),
            (
                "api-usage=25/5000; per-app-api-usage=17/250(appName=cdc)",
                use_of(25, 5000),
            ),
            (
                "per-app-api-usage=17/250(appName=cdc); api-usage=1/2",
                use_of(1, 2),
            ),
            ("api-usage=", None),
            ("api-usage=1", None),
            ("api-usage=-1/5", None),
            ("", None),
            ("=;=;", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
