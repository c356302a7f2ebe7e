INSERT INTO model_metrics (model_id, metric_name, value, dataset_type) VALUES (%s, %s, %s, %s);
