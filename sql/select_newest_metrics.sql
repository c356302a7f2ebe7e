SELECT DISTINCT ON (metric_name, dataset_type) metric_name, dataset_type, value
FROM model_metrics
WHERE model_id = %s
ORDER BY metric_name, dataset_type, evaluated_at DESC, id DESC;
