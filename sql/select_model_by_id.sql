SELECT * FROM models WHERE model_id = %s;
