SELECT tag, value FROM current_model_tags WHERE model_id = %s ORDER BY tag;
