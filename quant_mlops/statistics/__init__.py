"""Definitions of the monitored quantities, on plain arrays and without a database."""

from quant_mlops.statistics.change_point import (
    ChangePoint,
    most_likely_change,
    supremum_f_tail,
)
from quant_mlops.statistics.constancy import is_constant
from quant_mlops.statistics.drawdown import maximum_drawdown
from quant_mlops.statistics.information_coefficient import (
    effective_pairs,
    information_coefficient,
    information_coefficients,
)
from quant_mlops.statistics.newey_west import (
    automatic_lag,
    long_run_variance,
    newey_west_standard_error,
)
from quant_mlops.statistics.onset import Onset, change_interval, split_statistics, split_tail
from quant_mlops.statistics.onset_coverage import CoverageResult, coverage, simulate_change
from quant_mlops.statistics.population_stability import (
    calculate_psi,
    categorical_psi,
    count_used_bins,
    population_stability_index,
    psi_no_drift_quantile,
)
from quant_mlops.statistics.reference_profile import (
    ReferenceProfile,
    bin_counts,
    bin_counts_by_group,
    bin_counts_table,
    reference_counts_table,
    reference_profile,
)
from quant_mlops.statistics.sharpe import (
    deflated_sharpe_ratio,
    probabilistic_sharpe_ratio,
    return_shape,
    rolling_sharpe,
    sharpe_ratio,
    sharpe_standard_error,
)
from quant_mlops.statistics.sharpe_evidence import SharpeEvidence, rolling_sharpe_evidence
from quant_mlops.statistics.sharpe_moments import (
    expected_maximum_sharpe,
    probabilistic_sharpe_from_moments,
    sharpe_standard_error_from_moments,
)

__all__ = [
    "ChangePoint",
    "CoverageResult",
    "Onset",
    "ReferenceProfile",
    "SharpeEvidence",
    "automatic_lag",
    "bin_counts",
    "bin_counts_by_group",
    "bin_counts_table",
    "calculate_psi",
    "categorical_psi",
    "change_interval",
    "count_used_bins",
    "coverage",
    "deflated_sharpe_ratio",
    "effective_pairs",
    "expected_maximum_sharpe",
    "information_coefficient",
    "information_coefficients",
    "is_constant",
    "long_run_variance",
    "maximum_drawdown",
    "most_likely_change",
    "newey_west_standard_error",
    "population_stability_index",
    "probabilistic_sharpe_from_moments",
    "probabilistic_sharpe_ratio",
    "psi_no_drift_quantile",
    "reference_counts_table",
    "reference_profile",
    "return_shape",
    "rolling_sharpe",
    "rolling_sharpe_evidence",
    "sharpe_ratio",
    "sharpe_standard_error",
    "sharpe_standard_error_from_moments",
    "simulate_change",
    "split_statistics",
    "split_tail",
    "supremum_f_tail",
]
