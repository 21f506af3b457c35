//! Resource quantities: `100m`, `1Gi`, `1e3`, `128974848`.
//!
//! Exact to a billionth, as Kubernetes' `resource.Quantity` is; finer digits are rounded up, and so are the whole
//! numbers and thousandths handed out. Deliberately without formatting: what a client wrote is stored as written.

/// A parsed quantity. Its range is that of Kubernetes: up to 2⁶³ − 1 whole units either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It is not a number with a known suffix.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Syntax,
    /// It is beyond 2⁶³ − 1.
    #[error("the quantity is beyond 2^63-1")]
    Range,
}

const NANOS: i128 = 1_000_000_000;
const WHOLE_MAX: i128 = i64::MAX as i128;
/// Digits of a number, leading zeros aside; more would be out of range (before the point) or below rounding (after it).
const DIGITS_MAX: usize = 32;

impl Quantity {
    /// Parses a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Syntax);
        }
        let (numerator, denominator) = scale(suffix)?;
        let whole = whole.trim_start_matches('0');
        let kept = &fraction[..fraction.len().min(DIGITS_MAX - 8)];
        let lost = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
        if whole.len() > DIGITS_MAX {
            return Err(QuantityError::Range);
        }
        let whole = digits(whole)?.checked_mul(NANOS);
        let whole = whole
            .and_then(|nanos| nanos.checked_mul(numerator))
            .ok_or(QuantityError::Range)?;
        // The fraction is below 1, so its share is below `numerator` and cannot overflow once split in two steps.
        let unit = 10_i128.pow(kept.len() as u32);
        let fraction = digits(kept)?;
        let share = mul_div_up(fraction, NANOS * numerator, unit).ok_or(QuantityError::Range)?;
        let nanos = div_up(whole + share, denominator) + i128::from(lost);
        if nanos > WHOLE_MAX * NANOS {
            return Err(QuantityError::Range);
        }
        Ok(Self {
            nanos: if negative { -nanos } else { nanos },
        })
    }

    /// In thousandths, rounded up: `100m` is 100. Less than zero is 0, and more than `u64::MAX` that.
    pub fn millis(self) -> u64 {
        self.in_units_of(NANOS / 1_000)
    }

    /// In whole units, rounded up: `1Ki` is 1024. Less than zero is 0.
    pub fn value(self) -> u64 {
        self.in_units_of(NANOS)
    }

    /// How many of `divisor` it is, rounded up, as `resourceFieldRef` counts. A divisor that is not positive counts
    /// as one. Less than zero is 0, and more than `u64::MAX` that.
    pub fn divided_by(self, divisor: Self) -> u64 {
        if divisor.nanos <= 0 {
            return self.value();
        }
        self.in_units_of(divisor.nanos)
    }

    fn in_units_of(self, nanos: i128) -> u64 {
        u64::try_from(div_up(self.nanos.max(0), nanos)).unwrap_or(u64::MAX)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

/// The suffix as a fraction.
fn scale(suffix: &str) -> Result<(i128, i128), QuantityError> {
    let power = |base: i128, exponent: u32| base.pow(exponent);
    Ok(match suffix {
        "" => (1, 1),
        "n" => (1, NANOS),
        "u" => (1, power(10, 6)),
        "m" => (1, power(10, 3)),
        "k" => (power(10, 3), 1),
        "M" => (power(10, 6), 1),
        "G" => (power(10, 9), 1),
        "T" => (power(10, 12), 1),
        "P" => (power(10, 15), 1),
        "E" => (power(10, 18), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(suffix),
    })
}

fn exponent(suffix: &str) -> Result<(i128, i128), QuantityError> {
    /// Beyond this either way a quantity is out of range or rounds to a billionth.
    const EXPONENT_MAX: u32 = 18;
    let text = suffix
        .strip_prefix(['e', 'E'])
        .ok_or(QuantityError::Syntax)?;
    let exponent: i32 = text.parse().map_err(|_| QuantityError::Syntax)?;
    let power = exponent.unsigned_abs();
    if power > EXPONENT_MAX {
        return Err(QuantityError::Range);
    }
    let power = 10_i128.pow(power);
    Ok(if exponent < 0 { (1, power) } else { (power, 1) })
}

fn digits(text: &str) -> Result<i128, QuantityError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| QuantityError::Syntax)
}

fn div_up(dividend: i128, divisor: i128) -> i128 {
    dividend.div_euclid(divisor) + i128::from(dividend.rem_euclid(divisor) != 0)
}

/// `a × b ÷ c` rounded up, for `a < c`; digits of `a` that cannot count are dropped first when the product is too big.
fn mul_div_up(mut a: i128, b: i128, mut c: i128) -> Option<i128> {
    loop {
        if let Some(product) = a.checked_mul(b) {
            return Some(div_up(product, c));
        }
        if c < 10 {
            return None;
        }
        (a, c) = (div_up(a, 10), c / 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_kubernetes_parses() {
        let cases = [
            ("0", 0, 0),
            ("100m", 100, 1),
            ("1", 1_000, 1),
            ("1.5", 1_500, 2),
            (".5", 500, 1),
            ("5.", 5_000, 5),
            ("1500u", 2, 1),
            ("+2", 2_000, 2),
            ("-2", 0, 0),
            ("1e3", 1_000_000, 1_000),
            ("1E-1", 100, 1),
            ("2E", u64::MAX, 2_000_000_000_000_000_000),
            ("128974848", 128_974_848_000, 128_974_848),
            ("129M", 129_000_000_000, 129_000_000),
            ("123Mi", 128_974_848_000, 128_974_848),
            ("1Gi", 1_073_741_824_000, 1 << 30),
            ("0.5Gi", 536_870_912_000, 1 << 29),
            ("0.1Ki", 102_400, 103),
            ("0.0000000001", 1, 1),
            ("0000000000000000000000000000000000000000001", 1_000, 1),
            ("9223372036854775807", u64::MAX, i64::MAX as u64),
        ];
        for (text, millis, value) in cases {
            let parsed = Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((parsed.millis(), parsed.value()), (millis, value), "{text}");
        }
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        for text in [
            "", ".", "m", "1.2.3", "1 Gi", "1gi", "1KI", "1e", "--1", "0x10", "1Gib", "ten",
        ] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Syntax), "{text}");
        }
        for text in [
            "9223372036854775808",
            "99E",
            "10Ei",
            "1e19",
            "99999999999999999999999999999999999",
        ] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Range), "{text}");
        }
    }

    #[test]
    fn divides_upwards() {
        let divided = |quantity: &str, divisor: &str| {
            let parse = |text| Quantity::parse(text).expect("a number");
            parse(quantity).divided_by(parse(divisor))
        };
        assert_eq!(divided("250m", "1"), 1);
        assert_eq!(divided("250m", "1m"), 250);
        assert_eq!(divided("65Mi", "1Mi"), 65);
        assert_eq!(divided("3", "0"), 3);
        assert_eq!(divided("-3", "1"), 0);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[+-]?[0-9.]{0,40}[a-zA-Z0-9+-]{0,6}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn orders_as_numbers_do(a in 0_u64..1 << 62, b in 0_u64..1 << 62) {
            let parse = |n: u64| Quantity::parse(&n.to_string()).expect("a number");
            proptest::prop_assert_eq!(parse(a).cmp(&parse(b)), a.cmp(&b));
        }
    }
}
