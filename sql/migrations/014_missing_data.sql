-- Which data a session lacked, in words; no_data says whether there were any.

ALTER TABLE drift_metrics ADD COLUMN missing text[] NOT NULL DEFAULT '{}';
ALTER TABLE drift_metrics_history ADD COLUMN missing text[] NOT NULL DEFAULT '{}';
