//! Medians and their standard errors.

/// The least number of rounds for a ratio.
pub(crate) const LEAST: usize = 7;

/// The median. Not a number if there are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The value that this share of the sorted values does not exceed.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    f64::from(sorted[(last as f64 * share).round() as usize])
}

/// A ratio, if the rounds agree on one.
#[derive(Clone, Copy)]
pub(crate) enum Ratio {
    /// The median over rounds, and its standard error.
    Is(f64, f64),
    /// The rounds differ too much: the standard error as a share of the median.
    Noisy(f64),
    /// Too few rounds were calm: this many.
    Few(usize),
}

impl Ratio {
    /// The median of ratios, each taken within one round. The median absolute deviation gives its
    /// standard error, since one bad round cannot move it. `error` is the largest standard error
    /// that counts, as a share of the ratio. `least` is the least number of ratios.
    pub(crate) fn of(ratios: &[f64], error: f64, least: usize) -> Self {
        if ratios.len() < least {
            return Self::Few(ratios.len());
        }
        let middle = median(ratios);
        let deviations: Vec<f64> = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
        let sigma = 1.4826 * median(&deviations);
        let of_median = 1.2533 * sigma / (ratios.len() as f64).sqrt();
        if of_median / middle > error { Self::Noisy(of_median / middle) } else { Self::Is(middle, of_median) }
    }

    /// The ratio, unless it is too noisy.
    pub(crate) fn value(self) -> Option<f64> {
        match self {
            Self::Is(value, _) => Some(value),
            Self::Noisy(_) | Self::Few(_) => None,
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(value, error) => write!(f, "{value:.2} ± {error:.2}"),
            Self::Noisy(error) => write!(f, "too noisy (± {:.0} %)", error * 100.0),
            Self::Few(rounds) => write!(f, "too noisy ({rounds} calm rounds)"),
        }
    }
}
