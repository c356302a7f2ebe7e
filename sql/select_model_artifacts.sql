SELECT * FROM model_artifacts WHERE model_id = %s ORDER BY created_at DESC, artifact_type;
