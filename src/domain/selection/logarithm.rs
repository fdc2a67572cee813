//! A natural logarithm that takes a few nanoseconds and is the same on every machine: the
//! library's may differ in the last bit from one system to the next, and with it two scores.

/// The natural logarithm of a number above 0, to about seven digits.
#[inline]
pub(super) fn ln(number: f32) -> f32 {
    let bits = number.to_bits();
    // A number is 2^e · m with m from 1 to 2; halved above √2, to lie around 1.
    let above = bits & 0x007f_ffff > 0x0035_04f3;
    let (one, more) = if above { (0x3f00_0000, 1) } else { (0x3f80_0000, 0) };
    let mantissa = f32::from_bits(bits & 0x007f_ffff | one);
    #[expect(clippy::cast_precision_loss, reason = "an exponent has three digits")]
    let exponent = ((bits >> 23).cast_signed() - 127 + more) as f32;
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0)));
    exponent * std::f32::consts::LN_2 + 2.0 * t * series
}

/// The natural logarithm of one more than a number that is not negative.
#[inline]
pub(super) fn ln_1p(number: f32) -> f32 {
    ln(1.0 + number)
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn it_is_the_logarithm() {
        let mut number = 2e-6_f32;
        while number < 1e6 {
            let error = (ln(number) - number.ln()).abs();
            assert!(error <= 2e-6 * number.ln().abs().max(1.0), "{number}: {error}");
            number *= 1.013;
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
