//! Exact decimal money and sizes: text of a file comes in, whole numbers of the smallest part are counted, text goes out.
//! Never a floating-point number in between: 0.1 + 0.2 is 0.3 here.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A price with six decimals for a gigabyte, times bytes, leaves no rest at this scale.
const DECIMALS: usize = 15;
const ONE: i128 = 1_000_000_000_000_000;
const CENT: i128 = ONE / 100;
const GIGABYTE: u64 = 1_000_000_000;

/// An amount of money, exact to 10⁻¹⁵ yuan. Sums saturate; JSON holds it as a decimal string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Yuan(i128);

impl Yuan {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i128::MAX);

    #[must_use]
    pub const fn whole(yuan: i64) -> Self {
        Self(yuan as i128 * ONE)
    }

    /// What `bytes` cost at this price for a gigabyte; a part of the smallest part counts as a whole one.
    #[must_use]
    pub fn times_gigabytes(self, bytes: u64) -> Self {
        let product = self.0.saturating_mul(i128::from(bytes));
        Self(product / i128::from(GIGABYTE) + i128::from(product % i128::from(GIGABYTE) > 0))
    }

    /// The most bytes that this amount pays for at `price` a gigabyte; all there are when they cost nothing.
    #[must_use]
    pub fn buys(self, price: Self) -> u64 {
        if price.0 <= 0 {
            return u64::MAX;
        }
        let scaled = self.0.max(0).checked_mul(i128::from(GIGABYTE));
        scaled.map_or(u64::MAX, |scaled| u64::try_from(scaled / price.0).unwrap_or(u64::MAX))
    }

    /// This many millionths of the amount, rounded down.
    #[must_use]
    pub fn millionths(self, parts: u32) -> Self {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        Self(whole.saturating_mul(i128::from(parts)) + rest * i128::from(parts) / 1_000_000)
    }

    /// A twelfth, rounded down.
    #[must_use]
    pub const fn twelfth(self) -> Self {
        Self(self.0 / 12)
    }

    /// `self` as a percentage of `whole`, rounded down; 100 when there is nothing of which to take a part.
    #[must_use]
    pub fn percent_of(self, whole: Self) -> u32 {
        if whole.0 <= 0 {
            return 100;
        }
        u32::try_from(self.0.max(0).saturating_mul(100) / whole.0).unwrap_or(u32::MAX)
    }

    /// With two decimals and rounded up: for what was spent, of which people rather read too much than too little.
    #[must_use]
    pub fn rounded_up(self) -> String {
        let up = self.0.div_euclid(CENT) + i128::from(self.0.rem_euclid(CENT) > 0);
        Self(up.saturating_mul(CENT)).to_string()
    }

    /// With two decimals and rounded down: for what may be spent.
    #[must_use]
    pub fn rounded_down(self) -> String {
        Self(self.0.div_euclid(CENT) * CENT).to_string()
    }

    fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl Add for Yuan {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Yuan {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Yuan {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Yuan {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// All its decimals, at least two.
impl fmt::Display for Yuan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.unsigned_abs() / ONE.unsigned_abs(), self.0.unsigned_abs() % ONE.unsigned_abs());
        let fraction = format!("{rest:0DECIMALS$}");
        let needed = fraction.trim_end_matches('0').len().max(2);
        let sign = if self.is_negative() { "-" } else { "" };
        write!(f, "{sign}{whole}.{}", &fraction[..needed])
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no decimal number such as 12.50 with at most 15 decimals")]
pub struct DecimalError(String);

impl FromStr for Yuan {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let wrong = || DecimalError(text.to_owned());
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.trim_end_matches('0').len() > DECIMALS {
            return Err(wrong());
        }
        let fraction = format!("{fraction:0<DECIMALS$.DECIMALS$}");
        let parts: (i128, i128) = (whole.parse().map_err(|_| wrong())?, fraction.parse().map_err(|_| wrong())?);
        let amount = parts.0.checked_mul(ONE).and_then(|whole| whole.checked_add(parts.1)).ok_or_else(wrong)?;
        Ok(Self(if negative { -amount } else { amount }))
    }
}

impl Serialize for Yuan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Yuan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A number of the configuration file that is meant as it is written: `5.3` is 5.3, whatever a float makes of it.
/// Taken from an integer, from a float by its shortest spelling, or from a string; shown as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(Yuan);

impl Decimal {
    #[must_use]
    pub const fn whole(number: i64) -> Self {
        Self(Yuan::whole(number))
    }

    #[must_use]
    pub const fn yuan(self) -> Yuan {
        self.0
    }

    /// As a number of gigabytes: whole bytes, rounded down.
    #[must_use]
    pub fn gigabytes(self) -> u64 {
        u64::try_from(self.0.0.max(0) / (ONE / i128::from(GIGABYTE))).unwrap_or(u64::MAX)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_string().parse().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl de::Visitor<'_> for Written {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number such as 12.5")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(Decimal::whole(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Decimal, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Decimal, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn yuan(text: &str) -> Yuan {
        text.parse().expect(text)
    }

    #[test]
    fn decimals_add_up_exactly() {
        assert_eq!(yuan("0.1") + yuan("0.2"), yuan("0.3"));
        assert_eq!(
            (yuan("1000").twelfth().to_string(), yuan("5").to_string()),
            ("83.333333333333333".into(), "5.00".into())
        );
        assert_eq!(yuan("0.29").times_gigabytes(1_000_000), yuan("0.00029"));
        assert_eq!(yuan("20").times_gigabytes(1), yuan("0.00000002"));
        assert_eq!(yuan("83.33").millionths(50_000), yuan("4.1665"));
        assert_eq!(yuan("-1.5").to_string(), "-1.50");
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for wrong in ["", "-", ".5", "5.", "1e3", "nan", "inf", "1,5", "0.0000000000000001", "9".repeat(40).as_str()] {
            assert!(wrong.parse::<Yuan>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn people_read_two_decimals_and_never_too_little() {
        for (amount, shown) in [("1.001", "1.01"), ("1", "1.00"), ("0.999", "1.00"), ("-0.011", "-0.01")] {
            assert_eq!(yuan(amount).rounded_up(), shown);
        }
        assert_eq!(yuan("1000").twelfth().rounded_down(), "83.33");
    }

    #[test]
    fn a_number_of_the_file_is_taken_as_it_is_written() {
        #[derive(Deserialize, Serialize)]
        struct File {
            number: Decimal,
        }
        for (written, shown) in [("5.3", "5.3"), ("20", "20"), ("\"0.29\"", "0.29"), ("0.1", "0.1"), ("1000.0", "1000")]
        {
            let file: File = toml::from_str(&format!("number = {written}")).expect(written);
            assert_eq!(file.number.to_string(), shown);
        }
        for wrong in ["nan", "inf", "\"five\"", "true", "[1]", "1e300"] {
            assert!(toml::from_str::<File>(&format!("number = {wrong}")).is_err(), "{wrong}");
        }
        let file: File = toml::from_str("number = 0.000000001").expect("a byte");
        assert_eq!(file.number.gigabytes(), 1);
        assert_eq!("123456789012345678".parse::<Decimal>().expect("large").gigabytes(), u64::MAX);
    }

    proptest! {
        #[test]
        fn text_is_read_back(amount in any::<i64>()) {
            let amount = Yuan(i128::from(amount));
            prop_assert_eq!(yuan(&amount.to_string()), amount);
        }

        #[test]
        fn what_is_bought_can_be_paid(money in 0_i64..2_000_000, price in 1_u64..1_000_000_000) {
            let (money, price) = (Yuan(i128::from(money) * (ONE / 1000)), Yuan(i128::from(price) * (ONE / 1_000_000)));
            let bytes = money.buys(price);
            prop_assert!(price.times_gigabytes(bytes) <= money);
            prop_assert!(price.times_gigabytes(bytes + 1) > money);
        }
    }
}
