SELECT DISTINCT ON (model_id, metric_name, dataset_type)
       model_id, metric_name, dataset_type, value
FROM model_metrics
WHERE model_id = ANY(%s)
ORDER BY model_id, metric_name, dataset_type, evaluated_at DESC, id DESC;
