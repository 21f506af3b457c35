//! Kubernetes quantities (`250m`, `64Mi`, `1e3`) as whole numbers, rounded up.
//!
//! Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>. Deliberately only
//! parsing: the agent never prints a quantity back.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a quantity cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity")]
pub struct QuantityError(pub String);

/// Thousandths, rounded up: CPU in millicores.
pub fn millis(quantity: &Quantity) -> Result<u64, QuantityError> {
    scaled(quantity, 1_000_000)
}

/// Whole units, rounded up: memory in bytes.
pub fn units(quantity: &Quantity) -> Result<u64, QuantityError> {
    scaled(quantity, 1_000_000_000)
}

/// How many of `divisor` a quantity is, rounded up, as `resourceFieldRef` counts. A divisor of zero counts as one.
pub fn divided(quantity: &Quantity, divisor: &Quantity) -> Result<u64, QuantityError> {
    let divisor = match nanos(divisor)? {
        0 => NANOS_A_UNIT,
        nanos => nanos,
    };
    Ok(nanos(quantity)?
        .div_ceil(divisor)
        .try_into()
        .unwrap_or(u64::MAX))
}

const NANOS_A_UNIT: u128 = 1_000_000_000;

fn scaled(quantity: &Quantity, nanos_each: u128) -> Result<u64, QuantityError> {
    Ok(nanos(quantity)?
        .div_ceil(nanos_each)
        .try_into()
        .unwrap_or(u64::MAX))
}

/// Billionths, the finest that Kubernetes keeps; finer digits are rounded up.
fn nanos(quantity: &Quantity) -> Result<u128, QuantityError> {
    parse(quantity.0.trim()).ok_or_else(|| QuantityError(quantity.0.clone()))
}

fn parse(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits: u128 = digits.parse().ok()?;
    let (numerator, exponent) = multiplier(suffix)?;
    let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let value = digits.checked_mul(numerator)?;
    if exponent >= 0 {
        return value.checked_mul(10u128.checked_pow(exponent.unsigned_abs())?);
    }
    let divisor = 10u128.checked_pow(exponent.unsigned_abs());
    Some(divisor.map_or(u128::from(value > 0), |divisor| value.div_ceil(divisor)))
}

/// A suffix as (factor, power of ten).
fn multiplier(suffix: &str) -> Option<(u128, i32)> {
    let binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|b| *b == suffix) {
        return Some((1 << (10 * power), 0));
    }
    let decimal = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some((_, power)) = decimal.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *power));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    exponent.parse().ok().map(|power: i32| (1, power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity(text.to_owned())
    }

    #[test]
    fn reads_what_people_write() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1000),
            ("250m", 250),
            ("0.5", 500),
            (".5", 500),
            ("1.0005", 1001),
            ("100n", 1),
            ("2e1", 20_000),
            ("1E-3", 1),
        ] {
            assert_eq!(millis(&q(text)), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("64Mi", 64 << 20),
            ("1.5Gi", 3 << 29),
            ("128M", 128_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1n", 1),
        ] {
            assert_eq!(units(&q(text)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "m", "1x", "-1", "1..2", "1KiB", "1e", "1e99", "."] {
            assert!(units(&q(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn divides_upwards() {
        assert_eq!(divided(&q("250m"), &q("1")), Ok(1));
        assert_eq!(divided(&q("250m"), &q("1m")), Ok(250));
        assert_eq!(divided(&q("65Mi"), &q("1Mi")), Ok(65));
        assert_eq!(divided(&q("3"), &q("0")), Ok(3));
    }
}
