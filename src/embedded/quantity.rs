//! Kubernetes quantities: `500m`, `1Gi`, `1e3`, compared exactly and printed in their canonical form.
//!
//! The rule is apimachinery's `resource.Quantity`: a decimal number with a suffix; canonical means no fraction,
//! as many powers moved into the suffix as possible, and no digit beyond nano (rounded up).

use std::cmp::Ordering;

/// Said by the server when a text is no quantity.
pub(crate) const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";
const NANO: i128 = 1_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// A parsed quantity, in billionths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// The server's own words.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let number_end = text
            .char_indices()
            .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' || (at == 0 && (c == '+' || c == '-'))))
            .map_or(text.len(), |(at, _)| at);
        let (number, suffix) = text.split_at(number_end);
        let negative = number.starts_with('-');
        let digits = number.trim_start_matches(['+', '-']);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(MALFORMED);
        }
        let (format, base, power) = scale(suffix)?;
        let mut digits: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            digits = digits
                .checked_mul(10)
                .and_then(|n| n.checked_add(i128::from(digit - b'0')))
                .unwrap_or(i128::MAX / 4);
        }
        let decimals = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
        let nanos = match base {
            10 => times_power_of_ten(digits, 9 + power - decimals),
            _ => times_power_of_ten(digits.saturating_mul(1_i128 << (10 * power)), 9 - decimals),
        };
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// Whether it is below zero.
    pub(crate) fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The canonical text.
    pub(crate) fn canonical(self) -> String {
        let small = self.nanos.abs() < 1024 * NANO;
        let fractional = self.nanos % NANO != 0;
        let format = if self.format == Format::Binary && (small || fractional) {
            Format::Decimal
        } else {
            self.format
        };
        if self.nanos == 0 {
            return "0".to_owned();
        }
        match format {
            Format::Binary => {
                let mut value = self.nanos / NANO;
                let mut steps = 0;
                while value % 1024 == 0 && steps < 6 {
                    value /= 1024;
                    steps += 1;
                }
                format!("{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps])
            }
            Format::Decimal => {
                let (value, exponent) = thousands(self.nanos);
                format!("{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][exponent])
            }
            Format::Exponent => {
                let (value, exponent) = thousands(self.nanos);
                match (i64::try_from(exponent).unwrap_or(0) - 3) * 3 {
                    0 => value.to_string(),
                    power => format!("{value}e{power}"),
                }
            }
        }
    }
}

/// Moves factors of a thousand out of `nanos`: the rest, and how many (0 = nano, 3 = one, 9 = exa).
fn thousands(nanos: i128) -> (i128, usize) {
    let (mut value, mut steps) = (nanos, 0);
    while value % 1000 == 0 && steps < 9 {
        value /= 1000;
        steps += 1;
    }
    (value, steps)
}

/// `digits × 10^power`, rounded away from zero where the power is negative, saturating.
fn times_power_of_ten(digits: i128, power: i32) -> i128 {
    let Ok(up) = u32::try_from(power) else {
        let Some(divisor) = 10_i128.checked_pow(power.unsigned_abs()) else {
            return i128::from(digits != 0);
        };
        return (digits + divisor - 1) / divisor;
    };
    10_i128.checked_pow(up).and_then(|factor| digits.checked_mul(factor)).unwrap_or(i128::MAX / 4)
}

fn scale(suffix: &str) -> Result<(Format, u32, i32), &'static str> {
    Ok(match suffix {
        "n" => (Format::Decimal, 10, -9),
        "u" => (Format::Decimal, 10, -6),
        "m" => (Format::Decimal, 10, -3),
        "" => (Format::Decimal, 10, 0),
        "k" => (Format::Decimal, 10, 3),
        "M" => (Format::Decimal, 10, 6),
        "G" => (Format::Decimal, 10, 9),
        "T" => (Format::Decimal, 10, 12),
        "P" => (Format::Decimal, 10, 15),
        "E" => (Format::Decimal, 10, 18),
        "Ki" => (Format::Binary, 2, 1),
        "Mi" => (Format::Binary, 2, 2),
        "Gi" => (Format::Binary, 2, 3),
        "Ti" => (Format::Binary, 2, 4),
        "Pi" => (Format::Binary, 2, 5),
        "Ei" => (Format::Binary, 2, 6),
        other => {
            let Some(power) = other.strip_prefix(['e', 'E']) else {
                let shaped = other.chars().all(|c| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit());
                return Err(if shaped { SUFFIX } else { MALFORMED });
            };
            (Format::Exponent, 10, power.parse().map_err(|_| SUFFIX)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Quantity::parse(text).map_or_else(str::to_owned, Quantity::canonical)
    }

    #[test]
    fn quantities_are_printed_as_the_server_prints_them() {
        for (written, stored) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("1", "1"),
            ("1.5Gi", "1536Mi"),
            ("100", "100"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1", "-1"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("0.0001", "100u"),
            ("0.5Mi", "512Ki"),
            ("0.5Ki", "512"),
            ("+5", "5"),
        ] {
            assert_eq!(canonical(written), stored, "{written}");
        }
    }

    #[test]
    fn a_text_that_is_no_quantity_is_refused_in_the_servers_words() {
        assert_eq!(Quantity::parse("abc").unwrap_err(), MALFORMED);
        assert_eq!(Quantity::parse("1Qi").unwrap_err(), MALFORMED);
        assert_eq!(Quantity::parse("1mm").unwrap_err(), SUFFIX);
        assert_eq!(Quantity::parse("").unwrap_err(), MALFORMED);
    }

    #[test]
    fn quantities_compare_by_value() {
        assert!(Quantity::parse("0.5").unwrap() < Quantity::parse("1000m").unwrap());
        assert_eq!(Quantity::parse("1Gi").unwrap(), Quantity::parse("1024Mi").unwrap());
    }
}
