SELECT feature_name, cuts, counts FROM feature_profiles WHERE model_id = %s;
