CREATE TEMPORARY TABLE staged_feature_drift (
    strategy_id text, feature_name text, event_time timestamptz, session date, model_id text,
    feature_version integer, day_counts text, window_sessions integer, n_reference bigint,
    n_current bigint, missing_rate double precision, psi double precision,
    psi_no_drift_95 double precision
) ON COMMIT DROP;
