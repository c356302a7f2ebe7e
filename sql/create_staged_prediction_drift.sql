CREATE TEMPORARY TABLE staged_prediction_drift (
    strategy_id text, event_time timestamptz, session date, model_id text, day_counts text,
    window_sessions integer, n_reference bigint, n_current bigint, psi double precision,
    psi_no_drift_95 double precision
) ON COMMIT DROP;
