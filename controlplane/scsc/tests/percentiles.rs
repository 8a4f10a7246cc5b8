//! Percentiles of the compact histogram beside those of HdrHistogram with three digits, of the same times.

use dmsc_scsc::Histogram;

const TIMES: u64 = 100_000;

/// Evenly spread from 0 to 1, the same in every run (SplitMix64).
fn unit(n: u64) -> f64 {
    let mut bits = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// About normal, with mean 0 and variance 1: the sum of twelve.
fn normal(n: u64) -> f64 {
    (0..12).map(|part| unit(n * 12 + part)).sum::<f64>() - 6.0
}

fn compare(distribution: &str, micros: impl Fn(u64) -> f64) {
    let mut compact = Histogram::default();
    let mut exact = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    for n in 0..TIMES {
        let micros = micros(n) as u32;
        compact.add(micros);
        exact.record(micros.into()).unwrap();
    }
    assert_eq!(compact.count(), exact.len());
    for permille in [500, 900, 990, 999] {
        let told = compact.quantile(permille).unwrap();
        let exact = exact.value_at_quantile(f64::from(permille) / 1_000.0);
        // Every doubling has 16 buckets, and none is narrower than 1 µs.
        let width = (exact / 16).max(1);
        assert!(
            exact.abs_diff(told.into()) <= width,
            "{distribution}, {permille} permille: {told} us, {exact} us"
        );
    }
}

#[test]
fn percentiles_are_those_of_hdrhistogram_within_a_bucket() {
    compare("uniform", |n| unit(n) * 50_000.0);
    compare("log-normal", |n| (6.0 + 0.8 * normal(n)).exp());
    // One call in seven waits for something.
    compare("bimodal", |n| match n % 7 {
        0 => 20_000.0 + 1_500.0 * normal(n),
        _ => 180.0 + 25.0 * normal(n),
    });
    compare("a few microseconds", |n| 20.0 * unit(n));
}
