//! Medians, and how far they can be trusted.

/// How many rounds a ratio needs at least.
pub(crate) const LEAST: usize = 7;

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The value below which this share is.
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
    /// So many rounds were undisturbed: too few.
    Few(usize),
}

impl Ratio {
    /// Of ratios that were each taken within one round. The standard error of the median is
    /// estimated from the median absolute deviation, which one bad round cannot move; `error` is
    /// how large it may be, as a share of the ratio.
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
