SELECT DISTINCT ON (model_id, dataset_type, metric_name) model_id, metric_name, dataset_type, value
FROM model_metrics
WHERE model_id = ANY(%(model_ids)s)
ORDER BY model_id, dataset_type, metric_name, evaluated_at DESC, id DESC
