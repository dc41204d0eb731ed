//! Patterns for names: `*` stands for any text, `?` for any one character, everything else for
//! itself.

/// Whether the glob `pattern` matches the whole of `text`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    covers_with(&pattern, &text, |p, t| p == '?' || p == t)
}

/// Whether `wide` matches everything that `narrow` matches, as far as one can see: never wrongly
/// yes.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let wide: Vec<char> = wide.chars().collect();
    let narrow: Vec<char> = narrow.chars().collect();
    // The narrow one's star is more than one character: only a star covers it.
    covers_with(&wide, &narrow, |w, n| n != '*' && (w == '?' || w == n))
}

/// Goes back to the last star only, so it is quadratic at worst.
fn covers_with(pattern: &[char], text: &[char], one: impl Fn(char, char) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if one(wanted, c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "ä", true),
            ("?", "", false),
            ("order*", "orders", true),
            ("order*", "my_orders", false),
            ("*_at", "created_at", true),
            ("*_at", "_at_", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("text[]", "text[]", true),
            ("numeric(*,2)", "numeric(12,2)", true),
            ("A", "a", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_wider_glob_covers_a_narrower_one() {
        for (wide, narrow, expected) in [
            ("*", "a*", true),
            ("a*", "*", false),
            ("a*", "ab*", true),
            ("?", "*", false),
            ("?*", "a*", true),
            ("*_at", "created_at", true),
            ("*_at", "*_at", true),
            ("*_at", "x*_at", true),
            ("??", "?", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }
}
